# The configuration files of containerd, kubelet, kube-proxy and CoreDNS. Sourced by up.
conf=$CLUSTER_DIR/conf
mkdir -p "$conf/cni"
cat > "$conf/cni/10-superduper.conflist" <<JSON
{"cniVersion": "0.4.0", "name": "superduper", "plugins": [
  {"type": "bridge", "bridge": "cni0", "isGateway": true, "hairpinMode": true,
   "ipam": {"type": "host-local", "dataDir": "$CLUSTER_DIR/cni-ipam", "ranges": [[{"subnet": "$POD_CIDR"}]], "routes": [{"dst": "0.0.0.0/0"}]}},
  {"type": "portmap", "capabilities": {"portMappings": true}}]}
JSON
containerd_config() { # EXTRA_DISABLED_PLUGINS
    cat <<TOML
version = 2
root = "$CONTAINERD_ROOT"
state = "$RUN/containerd"
disabled_plugins = [${1:-}"io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.zfs", "io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.devmapper", "io.containerd.internal.v1.opt", "io.containerd.tracing.processor.v1.otlp", "io.containerd.internal.v1.tracing"]
[grpc]
  address = "$RUN/containerd.sock"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "$PAUSE_IMAGE"
  restrict_oom_score_adj = true
  enable_unprivileged_ports = true
  enable_unprivileged_icmp = true
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "overlayfs"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
        SystemdCgroup = false
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "$conf/cni"
TOML
}
containerd_config > "$conf/containerd.toml"
containerd_config '"io.containerd.grpc.v1.cri", ' | sed '/^\[plugins/,$d' > "$conf/containerd-clean.toml"
cat > "$conf/kubelet.yaml" <<YAML
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
containerRuntimeEndpoint: unix://$RUN/containerd.sock
cgroupDriver: cgroupfs
cgroupRoot: $CLUSTER_CGROUP
failSwapOn: false
authentication: {anonymous: {enabled: false}, webhook: {enabled: true}, x509: {clientCAFile: $PKI/ca.crt}}
authorization: {mode: Webhook}
tlsCertFile: $PKI/kubelet-server.crt
tlsPrivateKeyFile: $PKI/kubelet-server.key
clusterDomain: cluster.local
clusterDNS: [$DNS_SERVICE_IP]
resolvConf: $conf/resolv.conf
maxPods: 500
registerNode: true
nodeStatusUpdateFrequency: 5s
imageGCHighThresholdPercent: 100
evictionHard: {memory.available: 100Mi, nodefs.available: 0%, imagefs.available: 0%, nodefs.inodesFree: 0%}
volumePluginDir: $CLUSTER_DIR/volume-plugins
registerWithTaints: []
YAML
cat > "$conf/proxy.yaml" <<YAML
apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
mode: ${CLUSTER_PROXY_MODE:-nftables}
clientConnection: {kubeconfig: $CLUSTER_DIR/kubeconfigs/proxy}
clusterCIDR: $POD_CIDR
hostnameOverride: $NODE_NAME
conntrack: {maxPerCore: 0, min: 0, tcpEstablishedTimeout: 0s, tcpCloseWaitTimeout: 0s}
nodePortAddresses: [$NODE_IP/32]
YAML
cat > "$conf/Corefile" <<CORE
cluster.local:53 in-addr.arpa:53 {
    errors
    ready 127.0.0.1:8181
    kubernetes cluster.local in-addr.arpa {
        kubeconfig $CLUSTER_DIR/kubeconfigs/coredns superduper
        pods insecure
        ttl 5
    }
    cache 5
}
CORE
echo "nameserver $DNS_SERVICE_IP" > "$conf/node-resolv.conf" # what processes of the node itself use
: > "$conf/resolv.conf" # nothing upstream: pods resolve cluster names only

