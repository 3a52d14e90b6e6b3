# OpenBao of deploy/compose.yaml: one node, raft, TLS, two audit devices. Three nodes: see cluster.hcl.
# Mounted read-only; nothing in it is secret: what is, lies in files of its own under /run/secrets.
log_level    = "info"
ui           = false
api_addr     = "https://openbao:8200"
cluster_addr = "https://openbao:8201"

listener "tcp" {
  address         = "0.0.0.0:8200"
  cluster_address = "0.0.0.0:8201"
  tls_cert_file   = "/run/secrets/openbao.pem"
  tls_key_file    = "/run/secrets/openbao-key.pem"
  tls_min_version = "tls13"
}

storage "raft" {
  path                   = "/openbao/file"
  node_id                = "openbao-1"
  performance_multiplier = 1
}

# Opens by itself at start with a key that lies beside it: for an embedded shape, tests and practice. In production put a
# seal here that needs another machine: "transit" on a second OpenBao, or "pkcs11" (docs/operate/deployment.md, "Unseal").
seal "static" {
  current_key_id = "1"
  current_key    = "file:///run/secrets/openbao-seal"
}

# Two devices: a call is refused only where none of them can write. The first is the one that is kept and reconciled
# (docs/operate/keys.md); the second goes to the container's own log.
audit "file" "to-file" {
  options {
    file_path = "/openbao/logs/audit.log"
    mode      = "0640"
  }
}
audit "file" "to-stdout" {
  options {
    file_path = "stdout"
  }
}

# Once, on an empty storage. There is no root token at any time: the first operator is an identity with a password from a
# file, who makes everything else (`dauso keys init`, deploy/openbao/logins) and is taken away afterwards.
initialize "setup" {
  request "operator-policy" {
    operation = "update"
    path      = "sys/policies/acl/operator"
    data      = { policy = "path \"*\" { capabilities = [\"create\", \"read\", \"update\", \"patch\", \"delete\", \"list\", \"sudo\"] }" }
  }
  request "userpass" {
    operation = "update"
    path      = "sys/auth/userpass"
    data      = { type = "userpass" }
  }
  request "operator" {
    operation = "update"
    path      = "auth/userpass/users/operator"
    data = {
      password = {
        eval_type   = "string"
        eval_source = "file"
        path        = "/run/secrets/openbao-operator"
      }
      token_policies = ["operator"]
      token_ttl      = "1h"
    }
  }
}
