# One of three nodes. On each: its own node_id, api_addr, cluster_addr and certificate; retry_join names the other two.
# Three nodes go on without one, five without two. See docs/operate/deployment.md, "Lose a node".
log_level    = "info"
ui           = false
api_addr     = "https://bao-1.example.gov.vn:8200"
cluster_addr = "https://bao-1.example.gov.vn:8201"

listener "tcp" {
  address         = "0.0.0.0:8200"
  cluster_address = "0.0.0.0:8201"
  tls_cert_file   = "/etc/openbao/tls/node.pem"
  tls_key_file    = "/etc/openbao/tls/node-key.pem"
  tls_min_version = "tls13"
}

storage "raft" {
  path                   = "/var/lib/openbao/raft"
  node_id                = "bao-1"
  performance_multiplier = 1
  retry_join {
    leader_api_addr     = "https://bao-2.example.gov.vn:8200"
    leader_ca_cert_file = "/etc/openbao/tls/ca.pem"
  }
  retry_join {
    leader_api_addr     = "https://bao-3.example.gov.vn:8200"
    leader_ca_cert_file = "/etc/openbao/tls/ca.pem"
  }
}

# The key that opens these three lives in another OpenBao, run by other people. Its token comes by a file of the agent there.
seal "transit" {
  address     = "https://unseal.example.gov.vn:8200"
  tls_ca_cert = "/etc/openbao/tls/ca.pem"
  mount_path  = "transit/"
  key_name    = "dauso-unseal"
}

audit "file" "to-file" {
  options {
    file_path = "/var/log/openbao/audit.log"
    mode      = "0640"
  }
}
audit "socket" "to-collector" {
  options {
    address       = "127.0.0.1:9090"
    socket_type   = "tcp"
    write_timeout = "2s"
  }
}
