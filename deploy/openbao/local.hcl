# OpenBao of deploy/local-up, which fills in what stands between @: on this machine alone, without TLS, opening itself.
log_level = "warn"
api_addr = "http://127.0.0.1:@BAO@"
cluster_addr = "https://127.0.0.1:@CLUSTER@"
listener "tcp" {
  address = "127.0.0.1:@BAO@"
  cluster_address = "127.0.0.1:@CLUSTER@"
  tls_disable = true
}
storage "raft" {
  path = "@FOLDER@/bao/raft"
  node_id = "local-1"
  performance_multiplier = 1
}
seal "static" {
  current_key_id = "1"
  current_key = "file://@FOLDER@/secrets/openbao-seal"
}
audit "file" "to-file" {
  options {
    file_path = "@FOLDER@/bao/audit.log"
  }
}
audit "file" "to-stdout" {
  options {
    file_path = "stdout"
  }
}
initialize "setup" {
  request "operator-policy" {
    operation = "update"
    path = "sys/policies/acl/operator"
    data = { policy = "path \"*\" { capabilities = [\"create\", \"read\", \"update\", \"delete\", \"list\", \"sudo\"] }" }
  }
  request "userpass" {
    operation = "update"
    path = "sys/auth/userpass"
    data = { type = "userpass" }
  }
  request "operator" {
    operation = "update"
    path = "auth/userpass/users/operator"
    data = {
      password = {
        eval_type = "string"
        eval_source = "file"
        path = "@FOLDER@/secrets/openbao-operator"
      }
      token_policies = ["operator"]
      token_ttl = "1h"
    }
  }
}
