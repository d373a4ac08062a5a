{{/* Names and what several objects have in common. */}}

{{- define "leeward.name" -}}
{{- if contains "leeward" .Release.Name }}{{ .Release.Name }}{{ else }}{{ .Release.Name }}-leeward{{ end -}}
{{- end }}

{{- define "leeward.selector" -}}
app.kubernetes.io/name: leeward
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "leeward.labels" -}}
{{ include "leeward.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end }}

{{/* Where the members of this region find member .n of it. */}}
{{- define "leeward.host" -}}
{{ $name := include "leeward.name" .root }}{{ $name }}-{{ .n }}.{{ $name }}-peers.{{ .root.Release.Namespace }}.svc
{{- end }}

{{- define "leeward.tls" -}}
{{- if or .Values.tls.secretName .Values.tls.issuerRef }}on{{ end -}}
{{- end }}

{{- define "leeward.tlsSecret" -}}
{{ .Values.tls.secretName | default (printf "%s-tls" (include "leeward.name" .)) }}
{{- end }}

{{- define "leeward.peerTlsSecret" -}}
{{- if .Values.tls.peerSecretName }}{{ .Values.tls.peerSecretName -}}
{{- else if .Values.tls.peerIssuerRef }}{{ include "leeward.name" . }}-peer-tls
{{- else }}{{ include "leeward.tlsSecret" . }}{{ end -}}
{{- end }}

{{/* Of a client certificate by which leewardctl in a pod is an operator at other members too; empty: there is none. */}}
{{- define "leeward.operatorTlsSecret" -}}
{{- if .Values.tls.operatorSecretName }}{{ .Values.tls.operatorSecretName -}}
{{- else if .Values.tls.issuerRef }}{{ include "leeward.name" . }}-operator-tls{{ end -}}
{{- end }}

{{- define "leeward.scheme" -}}
{{ if include "leeward.tls" . }}https{{ else }}http{{ end }}
{{- end }}

{{/* What no schema can see: values that do not fit each other. */}}
{{- define "leeward.check" -}}
{{- $v := .Values }}
{{- $initial := int ($v.initialReplicas | default $v.replicas) }}
{{- $others := len $v.other.hosts }}
{{- if not $v.region }}{{ fail "region is not set: name this region, such as --set region=east" }}{{ end }}
{{- if gt (len (include "leeward.name" .)) 50 }}{{ fail (printf "the release's name %q is too long: at most 50 letters, with -leeward behind it" .Release.Name) }}{{ end }}
{{- if and (eq $v.role "standby") (eq $others 0) }}{{ fail "role is standby and other.hosts is empty: list the members of the active region" }}{{ end }}
{{- if and $others (not $v.other.region) }}{{ fail "other.hosts is set and other.region is not: name the other region" }}{{ end }}
{{- if eq $v.region $v.other.region }}{{ fail (printf "region and other.region are both %q: a standby protects against the loss of a region only from another one" $v.region) }}{{ end }}
{{- if gt $others 0 }}
{{- $ends := add $v.firstId $v.replicas }}{{ $otherEnds := add $v.other.firstId $others }}
{{- if and (lt (int $v.firstId) (int $otherEnds)) (lt (int $v.other.firstId) (int $ends)) }}{{ fail (printf "ids %d to %d of this region and %d to %d of the other one overlap: change firstId or other.firstId" (int $v.firstId) (sub $ends 1) (int $v.other.firstId) (sub $otherEnds 1)) }}{{ end }}
{{- end }}
{{- if and $v.external.hosts (ne (len $v.external.hosts) (int $v.replicas)) }}{{ fail (printf "external.hosts names %d members and replicas is %d: name each" (len $v.external.hosts) (int $v.replicas)) }}{{ end }}
{{- if and $v.tls.issuerRef $v.tls.secretName }}{{ fail "tls.secretName and tls.issuerRef are both set: cert-manager names the secret by itself" }}{{ end }}
{{- if and (or $v.tls.peerSecretName $v.tls.peerIssuerRef $v.tls.operatorSecretName) (not (include "leeward.tls" .)) }}{{ fail "TLS is on for all ports or for none: set tls.secretName or tls.issuerRef too" }}{{ end }}
{{- if gt $initial (int $v.replicas) }}{{ fail (printf "initialReplicas is %d and replicas is %d: remove members by leewardctl, then lower both" $initial (int $v.replicas)) }}{{ end }}
{{- end }}

{{/* One member of a list in leeward.toml. */}}
{{- define "leeward.member" -}}
{ id = {{ .id }}, name = "{{ .region }}-{{ .n }}", peer = "{{ .host }}:2380", client = "{{ .host }}:2379", region = "{{ .region }}" },
{{- end }}

{{/* The keys of a section of leeward.toml, nested ones with a dot. JSON's strings, numbers and lists are TOML's too. */}}
{{- define "leeward.keys" -}}
{{- range $key, $value := .values }}
{{- if kindIs "map" $value }}
{{- include "leeward.keys" (dict "prefix" (printf "%s%s." $.prefix $key) "values" $value) }}
{{- else if not (kindIs "invalid" $value) }}
{{ $.prefix }}{{ $key }} = {{ toJson $value }}
{{- end }}
{{- end }}
{{- end }}

{{/* leeward.toml of member .n. The lists count at the member's first start only. */}}
{{- define "leeward.toml" -}}
{{- $v := .root.Values }}
{{- $initial := int ($v.initialReplicas | default $v.replicas) }}
{{- $joins := ge .n $initial }}
[node]
id = {{ add $v.firstId .n }}
name = "{{ $v.region }}-{{ .n }}"
region = "{{ $v.region }}"
data_dir = "/var/lib/leeward"
{{- if $v.storage.wal.size }}
wal_dir = "/var/lib/leeward-wal"
{{- end }}

[listen]
client = "0.0.0.0:2379"
peer = "0.0.0.0:2380"
admin = "0.0.0.0:8080"
metrics = "0.0.0.0:9090"

[cluster]
name = {{ $v.cluster | toJson }}
bootstrap = {{ ternary "join" "new" $joins | quote }}
{{- $root := .root }}
{{- $own := list }}
{{- range $n := until $initial }}{{ $own = append $own $n }}{{ end }}
{{- if $joins }}{{ $own = append $own .n }}{{ end }}
{{- if eq $v.role "active" }}
members = [{{ include "leeward.ownMembers" (dict "root" .root "own" $own) }}
]
{{- else }}
members = [{{ include "leeward.otherMembers" .root }}
]
{{- end }}
{{- if $v.other.hosts }}

[standby]
region = "{{ ternary $v.other.region $v.region (eq $v.role "active") }}"
{{- if eq $v.role "active" }}
members = [{{ include "leeward.otherMembers" .root }}
]
{{- else }}
members = [{{ include "leeward.ownMembers" (dict "root" .root "own" $own) }}
]
{{- end }}
{{- end }}

{{- $admin := $v.config.admin | default dict }}
{{- $operators := $admin.operators | default list }}
{{- if and $v.tls.issuerRef (not $v.tls.operatorSecretName) }}{{ $operators = append $operators "leeward-operator" }}{{ end }}

[admin]
socket = "/run/leeward/admin.sock"
operators = {{ toJson $operators }}
{{- include "leeward.keys" (dict "prefix" "" "values" (omit $admin "socket" "operators")) }}
{{- range $section, $values := omit $v.config "admin" }}

[{{ $section }}]
{{- include "leeward.keys" (dict "prefix" "" "values" $values) }}
{{- end }}
{{- if include "leeward.tls" .root }}

[tls]
{{- range $use := list "client" "peer" "admin" "metrics" }}
{{- $place := printf "/etc/leeward-tls/%s" (ternary "peer" "server" (eq $use "peer")) }}
{{ $use }} = { cert = "{{ $place }}/tls.crt", key = "{{ $place }}/tls.key", ca = "{{ $place }}/ca.crt"{{ if eq $use "client" }}, client_auth = "{{ $v.tls.clientAuth }}"{{ end }} }
{{- end }}
{{- end }}
{{- end }}

{{/* One name a member, the same in both regions: a region tells the other one where its members are whenever they change. */}}
{{- define "leeward.ownMembers" -}}
{{- $v := .root.Values }}
{{- range $n := .own }}
{{- $host := include "leeward.host" (dict "root" $.root "n" $n) }}
{{- if $v.external.hosts }}{{ $host = index $v.external.hosts $n }}{{ end }}
  {{ include "leeward.member" (dict "id" (add $v.firstId $n) "n" $n "region" $v.region "host" $host) }}
{{- end }}
{{- end }}

{{- define "leeward.otherMembers" -}}
{{- range $n, $host := .Values.other.hosts }}
  {{ include "leeward.member" (dict "id" (add $.Values.other.firstId $n) "n" $n "region" $.Values.other.region "host" $host) }}
{{- end }}
{{- end }}
