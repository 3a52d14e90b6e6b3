{{- define "dauso.name" -}}
{{- if contains "dauso" .Release.Name }}{{ .Release.Name | trunc 40 | trimSuffix "-" }}{{ else }}{{ printf "%s-dauso" (.Release.Name | trunc 34 | trimSuffix "-") }}{{ end -}}
{{- end }}

{{- define "dauso.selector" -}}
app.kubernetes.io/name: dauso
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .role }}
{{- end }}

{{- define "dauso.labels" -}}
{{ include "dauso.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version }}
{{- end }}

{{- define "dauso.image" -}}
{{- $i := .Values.image -}}
{{ $i.repository }}{{ if $i.digest }}@{{ $i.digest }}{{ else }}:{{ default .Chart.AppVersion $i.tag }}{{ end }}
{{- end }}

{{- define "dauso.replicas" -}}
{{- if or .root.Values.stopped .root.Values.init.run }}0{{ else }}{{ .count }}{{ end -}}
{{- end }}

{{/* What is the same of every pod. */}}
{{- define "dauso.pod" -}}
automountServiceAccountToken: false
enableServiceLinks: false
securityContext:
  runAsNonRoot: true
  runAsUser: 10001
  runAsGroup: 10001
  fsGroup: 10001
  fsGroupChangePolicy: OnRootMismatch
  seccompProfile: {type: RuntimeDefault}
{{- with .Values.imagePullSecrets }}
imagePullSecrets: {{ toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.nodeSelector }}
nodeSelector: {{ toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations: {{ toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- define "dauso.spread" -}}
topologySpreadConstraints:
{{- range list "kubernetes.io/hostname" "topology.kubernetes.io/zone" }}
  - maxSkew: 1
    topologyKey: {{ . }}
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels: {{ include "dauso.selector" $ | nindent 8 }}
{{- end }}
{{- end }}

{{- define "dauso.container" -}}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  runAsNonRoot: true
  capabilities: {drop: [ALL]}
{{- end }}

{{/* Environment of a role: addresses, the database's user; passwords by reference. */}}
{{- define "dauso.env" -}}
{{- $v := .root.Values -}}
{{- $db := get $v.database .user -}}
- {name: DAUSO_HOST, value: {{ $v.host | quote }}}
- {name: DAUSO_SIGN_URL, value: {{ $v.signUrl | quote }}}
- {name: DAUSO_WEB_URL, value: {{ $v.webUrl | quote }}}
- {name: DAUSO_HOME, value: /var/lib/dauso/home}
- name: DAUSO_DATABASE_URL
  value: {{ printf "postgresql+psycopg://%s@%s:%v/%s" $db.user $v.database.host $v.database.port $v.database.name | quote }}
- {name: PGSSLMODE, value: {{ $v.database.sslMode | quote }}}
{{- if $v.database.ca.configMap }}
- {name: PGSSLROOTCERT, value: /etc/ssl/dauso/database.crt}
{{- else if eq $v.database.sslMode "verify-full" }}
{{- /* The image's roots by their file: libpq's "system" means a folder of the wheel's own OpenSSL, and nothing lies there. With
       a weaker mode libpq refuses "system", and a file would make it ask for more than the mode says. */}}
- {name: PGSSLROOTCERT, value: /etc/ssl/certs/ca-certificates.crt}
{{- end }}
- name: PGPASSWORD
  valueFrom: {secretKeyRef: {name: {{ $db.secret }}, key: {{ $db.key }}}}
{{- range $name, $value := $v.settings }}
- {name: {{ $name }}, value: {{ $value | toString | quote }}}
{{- end }}
{{- end }}

{{- define "dauso.env.objects" -}}
{{- $o := .Values.objects -}}
- {name: DAUSO_OBJECTS_URL, value: {{ $o.url | quote }}}
- {name: AWS_REGION, value: {{ $o.region | quote }}}
{{- with $o.endpoint }}
- {name: AWS_ENDPOINT, value: {{ . | quote }}}
{{- end }}
{{- if $o.secret }}
{{- range list "AWS_ACCESS_KEY_ID" "AWS_SECRET_ACCESS_KEY" }}
- name: {{ . }}
  valueFrom: {secretKeyRef: {name: {{ $o.secret }}, key: {{ . }}}}
{{- end }}
{{- end }}
{{- end }}

{{/* Only of the signer and of the Job that makes the first keys. */}}
{{- define "dauso.env.keys" -}}
{{- $k := .Values.keys -}}
- {name: DAUSO_KEYS, value: {{ $k.store }}}
- {name: DAUSO_HIGHWATER, value: /var/lib/dauso/highwater/mark.json}
- {name: DAUSO_WEB_KEY_FILE, value: /run/secrets/dauso/web-key}
- {name: DAUSO_PEOPLE_KEY_FILE, value: /run/secrets/dauso/people-key}
- {name: DAUSO_SIGNER_SOCKET, value: /run/dauso/signer.sock}
- {name: DAUSO_SIGN_BIND, value: "0.0.0.0:8001"}
{{- if eq $k.store "transit" }}
- {name: DAUSO_TRANSIT_MOUNTS, value: {{ $k.mounts | quote }}}
- {name: DAUSO_VAULT_URL, value: {{ $k.vault.url | quote }}}
- {name: DAUSO_VAULT_NAMESPACE, value: {{ $k.vault.namespace | quote }}}
{{- if $k.vault.ca.configMap }}
- {name: DAUSO_VAULT_CA_FILE, value: /etc/ssl/dauso/openbao.crt}
{{- end }}
- {name: DAUSO_VAULT_LOGIN, value: {{ $k.vault.login }}}
- {name: DAUSO_VAULT_ROLE, value: {{ $k.vault.role | quote }}}
- {name: DAUSO_VAULT_ENROLLER_ROLE, value: {{ $k.vault.enrollerRole | quote }}}
- {name: DAUSO_VAULT_CUSTODIAN_ROLE, value: {{ $k.vault.custodianRole | quote }}}
- {name: DAUSO_VAULT_MOUNT, value: {{ $k.vault.mount | quote }}}
{{- if eq $k.vault.login "kubernetes" }}
- {name: DAUSO_VAULT_JWT_FILE, value: /var/run/secrets/tokens/vault}
{{- else }}
- {name: DAUSO_VAULT_CERT_FILE, value: /run/secrets/vault/tls.crt}
- {name: DAUSO_VAULT_KEY_FILE, value: /run/secrets/vault/tls.key}
{{- end }}
{{- else }}
- {name: DAUSO_PKCS11_MODULE, value: {{ $k.pkcs11.module | quote }}}
- {name: DAUSO_PKCS11_TOKEN, value: {{ $k.pkcs11.token | quote }}}
- {name: DAUSO_PKCS11_PIN_FILE, value: /run/secrets/pkcs11/pin}
{{- end }}
{{- range $name, $ref := .Values.secretSettings }}
- name: {{ $name }}
  valueFrom: {secretKeyRef: {name: {{ $ref.secret }}, key: {{ $ref.key }}}}
{{- end }}
{{- end }}

{{- define "dauso.mounts.ca" -}}
- {name: tmp, mountPath: /tmp}
- {name: ca, mountPath: /etc/ssl/dauso, readOnly: true}
{{- end }}

{{- define "dauso.volumes.ca" -}}
- {name: tmp, emptyDir: {sizeLimit: 2Gi}}
- name: ca
  projected:
    defaultMode: 0444
    sources:
{{- with .root.Values.database.ca }}{{ if .configMap }}
      - configMap: {name: {{ .configMap }}, items: [{key: {{ .key }}, path: database.crt}]}
{{- end }}{{ end }}
{{- with .root.Values.keys.vault.ca }}{{ if and $.keys .configMap }}
      - configMap: {name: {{ .configMap }}, items: [{key: {{ .key }}, path: openbao.crt}]}
{{- end }}{{ end }}
      - configMap: {name: {{ include "dauso.name" .root }}-realm, items: [{key: home.json, path: home.json}]}
{{- end }}

{{- define "dauso.mounts.keys" -}}
- {name: own-secrets, mountPath: /run/secrets/dauso, readOnly: true}
- {name: highwater, mountPath: /var/lib/dauso/highwater}
{{- $k := .Values.keys }}
{{- if ne $k.store "transit" }}
- {name: pkcs11, mountPath: /run/secrets/pkcs11, readOnly: true}
{{- else if eq $k.vault.login "kubernetes" }}
- {name: vault-token, mountPath: /var/run/secrets/tokens, readOnly: true}
{{- else }}
- {name: vault-cert, mountPath: /run/secrets/vault, readOnly: true}
{{- end }}
{{- end }}

{{- define "dauso.volumes.keys" -}}
{{- $k := .Values.keys -}}
- name: own-secrets
  projected:
    defaultMode: 0440
    sources:
      - secret: {name: {{ $k.webKey.secret }}, items: [{key: {{ $k.webKey.key }}, path: web-key}]}
      - secret: {name: {{ $k.peopleKey.secret }}, items: [{key: {{ $k.peopleKey.key }}, path: people-key}]}
- name: highwater
  persistentVolumeClaim:
    claimName: {{ default (printf "%s-highwater" (include "dauso.name" .)) .Values.signer.highwater.claim }}
{{- if ne $k.store "transit" }}
- name: pkcs11
  secret: {secretName: {{ $k.pkcs11.pinSecret }}, defaultMode: 0440, items: [{key: {{ $k.pkcs11.pinKey }}, path: pin}]}
{{- else if eq $k.vault.login "kubernetes" }}
- name: vault-token
  projected:
    defaultMode: 0440
    sources:
      - serviceAccountToken: {audience: {{ $k.vault.audience | quote }}, expirationSeconds: 900, path: vault}
{{- else }}
- name: vault-cert
  secret: {secretName: {{ $k.vault.certSecret }}, defaultMode: 0440}
{{- end }}
{{- end }}

{{- define "dauso.relay" -}}
- name: relay
  image: {{ .root.Values.relay.image }}
  command: [haproxy, -W, -f, /etc/relay/{{ .end }}.cfg]
  {{- include "dauso.container" . | nindent 2 }}
  resources: {{ toYaml .root.Values.relay.resources | nindent 4 }}
  {{- if eq .end "signer" }}
  ports: [{name: relay, containerPort: 8443}]
  {{- end }}
  volumeMounts:
    - {name: run, mountPath: /run/dauso}
    - {name: relay, mountPath: /etc/relay, readOnly: true}
    - {name: relay-tls, mountPath: /run/secrets/relay, readOnly: true}
{{- end }}

{{- define "dauso.volumes.relay" -}}
- {name: run, emptyDir: {medium: Memory, sizeLimit: 1Mi}}
- name: relay
  configMap: {name: {{ include "dauso.name" .root }}-relay}
- name: relay-tls
  secret:
    secretName: {{ .secret }}
    defaultMode: 0440
    items: [{key: ca.crt, path: ca.crt}, {key: tls.crt, path: tls.pem}, {key: tls.key, path: tls.pem.key}]
{{- end }}
