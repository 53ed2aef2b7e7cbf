# The cluster's certificates and kubeconfigs, new in each run. Sourced by up.
key() { openssl ecparam -name prime256v1 -genkey -noout -out "$1.key" 2>/dev/null; }
cert() { # NAME SUBJECT [SANS]
    key "$1"
    openssl req -new -key "$1.key" -subj "$2" -out "$1.csr" 2>/dev/null
    openssl x509 -req -in "$1.csr" -CA ca.crt -CAkey ca.key -CAcreateserial -days 3650 -out "$1.crt" \
        -extfile <(printf 'keyUsage=digitalSignature\nextendedKeyUsage=serverAuth,clientAuth\n%s' "${3:+subjectAltName=$3}") 2>/dev/null
}
kubeconfig() { # NAME CERT
    cat > "$1" <<YAML
apiVersion: v1
kind: Config
clusters: [{name: superduper, cluster: {server: "https://$NODE_IP:6443", certificate-authority-data: $(base64 -w0 ca.crt)}}]
users: [{name: $2, user: {client-certificate-data: $(base64 -w0 "$2.crt"), client-key-data: $(base64 -w0 "$2.key")}}]
contexts: [{name: superduper, context: {cluster: superduper, user: $2}}]
current-context: superduper
YAML
}
key ca
openssl req -x509 -new -key ca.key -subj /CN=superduper-ca -days 3650 -out ca.crt \
    -addext keyUsage=critical,keyCertSign,cRLSign,digitalSignature 2>/dev/null
key service-account
cert apiserver /CN=kube-apiserver "DNS:kubernetes,DNS:kubernetes.default,DNS:kubernetes.default.svc,DNS:kubernetes.default.svc.cluster.local,DNS:localhost,IP:127.0.0.1,IP:$NODE_IP,IP:$API_SERVICE_IP"
cert kubelet-server "/CN=$NODE_NAME" "DNS:$NODE_NAME,IP:$NODE_IP"
cert apiserver-kubelet-client /O=kubeadm:cluster-admins/CN=kube-apiserver-kubelet-client
cert front-proxy-client /CN=front-proxy-client
cert admin /O=system:masters/CN=admin
cert controller-manager /CN=system:kube-controller-manager
cert scheduler /CN=system:kube-scheduler
cert proxy /CN=system:kube-proxy
cert kubelet "/O=system:nodes/CN=system:node:$NODE_NAME"
cert coredns /CN=superduper:coredns
cert provisioner /CN=superduper:provisioner
for user in controller-manager scheduler proxy kubelet coredns provisioner; do kubeconfig "$CLUSTER_DIR/kubeconfigs/$user" $user; done
kubeconfig "$ADMIN_KUBECONFIG" admin
cd /
