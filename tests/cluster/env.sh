# Names, addresses and small functions that the scripts of this folder share. Sourced, never run.
# CLUSTER_NAME and CLUSTER_CACHE may be given; with another name a second cluster stands beside the first. None of these
# variables begins with SUPERDUPER_: the runtime refuses those that it does not know.
CLUSTER_SOURCE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
CLUSTER_CACHE=${CLUSTER_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/superduper-cluster} # kept over down
CLUSTER_NAME=${CLUSTER_NAME:-superduper}
CLUSTER_DIR=/var/lib/$CLUSTER_NAME-cluster # the state of one run
CLUSTER_NETNS=$CLUSTER_NAME
CLUSTER_CGROUP=/$CLUSTER_NAME
NODE_NAME=node-1
NODE_IP=10.200.0.2
SERVICE_CIDR=10.96.0.0/16
API_SERVICE_IP=10.96.0.1
DNS_SERVICE_IP=10.96.0.10
POD_CIDR=10.244.0.0/20
BIN=$CLUSTER_CACHE/bin
IMAGES=$CLUSTER_CACHE/images
CONTAINERD_ROOT=$CLUSTER_CACHE/containerd-$CLUSTER_NAME # kept over down, so that images are imported once
PKI=$CLUSTER_DIR/pki
LOGS=$CLUSTER_DIR/logs
RUN=$CLUSTER_DIR/run
ADMIN_KUBECONFIG=$CLUSTER_DIR/admin.kubeconfig
KUBE_VERSION=v1.34.4
PAUSE_IMAGE=localhost/pause:1
# Our own binaries first: distributions' kubectl is years old or missing.
PATH=$BIN:$PATH

begun=$(date +%s%N)
step() { printf '%6.1fs  %s\n' "$((($(date +%s%N) - begun) / 100000000))e-1" "$*"; }
die() { echo "$(basename "$0"): $*" >&2; exit 1; }

# Only one of build, build-images, up, load and down works at a time; what they call runs under their lock.
# flock keeps the lock itself (-o): daemons that a script starts do not inherit it.
exclusively() { # SCRIPT ARGUMENTS...
    [ -z "${CLUSTER_LOCKED:-}" ] || return 0
    mkdir -p "$CLUSTER_CACHE"
    CLUSTER_LOCKED=1 exec flock -o "$CLUSTER_CACHE/lock" "$@"
}

as_root() { [ "$(id -u)" = 0 ] || die "must run as root; without root use kind (make kind-up) or give KUBECONFIG"; }

# The cluster's PID 1, or nothing. A pid is only trusted when it really is the init of this state folder.
cluster_init() {
    local pid
    pid=$(cat "$CLUSTER_DIR/init.pid" 2>/dev/null) && [ -n "$pid" ] || return 1
    tr '\0' '\n' < "/proc/$pid/cmdline" 2>/dev/null | grep -qxF "$CLUSTER_DIR" || return 1
    echo "$pid"
}

# The folders of the machine's control groups: one with version 2, one for each hierarchy with version 1.
cgroup_roots() {
    if [ -e /sys/fs/cgroup/cgroup.controllers ]; then echo /sys/fs/cgroup; else ls -d /sys/fs/cgroup/*/; fi
}
