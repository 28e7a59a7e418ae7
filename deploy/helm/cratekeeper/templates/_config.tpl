{{/* The configuration of the nodes. What they get by environment is in _pod.tpl. */}}

{{- define "cratekeeper.clusterId" -}}
{{- default (include "cratekeeper.fullname" .) .Values.cluster.id -}}
{{- end -}}

{{/* Is there only one node? Then nobody needs its peer port. */}}
{{- define "cratekeeper.alone" -}}
{{- if and (eq (int .Values.replicas) 1) (not .Values.readReplicas.enabled) (not .Values.peerTls.mode) }}yes{{ end -}}
{{- end -}}

{{- define "cratekeeper.adminSecret" -}}
{{- default (printf "%s-admin-token" (include "cratekeeper.fullname" .)) .Values.admin.existingSecret -}}
{{- end -}}

{{/* The Secret with S3 credentials, if they come from one. */}}
{{- define "cratekeeper.s3Secret" -}}
{{- $s3 := .Values.tarballs.s3 -}}
{{- if eq .Values.tarballs.kind "s3" -}}
{{- if $s3.existingSecret }}{{ $s3.existingSecret }}{{ else if $s3.accessKeyId }}{{ include "cratekeeper.fullname" . }}-s3{{ end -}}
{{- end -}}
{{- end -}}

{{/* The Secret with the certificate of the HTTP port, if it has one. */}}
{{- define "cratekeeper.tlsSecret" -}}
{{- if eq .Values.tls.mode "existingSecret" }}{{ .Values.tls.existingSecret }}{{ else if eq .Values.tls.mode "certManager" }}{{ include "cratekeeper.fullname" . }}-tls{{ end -}}
{{- end -}}

{{/* The Secret with the certificate between nodes, if there is one. */}}
{{- define "cratekeeper.peerSecret" -}}
{{- $mode := .Values.peerTls.mode -}}
{{- if eq $mode "existingSecret" }}{{ .Values.peerTls.existingSecret }}{{ else if has $mode (list "certManager" "selfSigned") }}{{ include "cratekeeper.fullname" . }}-peer-tls{{ end -}}
{{- end -}}

{{/* What the chart decides, as JSON. A change of it rolls the pods. */}}
{{- define "cratekeeper.fixedConfig" -}}
{{- $listen := .Values.listenAddress -}}
{{- $secrets := "/run/cratekeeper" -}}
{{- $node := dict "data_dir" "/var/lib/cratekeeper" "drain_wait_seconds" .Values.drain.waitSeconds "drain_linger_seconds" .Values.drain.lingerSeconds -}}
{{- $http := dict "listen" (printf "%s:8080" $listen) "public_url" (include "cratekeeper.publicUrl" .) -}}
{{- if ne .Values.tls.mode "none" -}}
{{- $_ := set $http "tls_certificate" (printf "%s/tls/tls.crt" $secrets) -}}
{{- $_ := set $http "tls_key" (printf "%s/tls/tls.key" $secrets) -}}
{{- end -}}
{{- $peer := dict "listen" (printf "%s:8081" $listen) -}}
{{- if include "cratekeeper.alone" . -}}
{{- $_ := set $peer "listen" (ternary "[::1]:8081" "127.0.0.1:8081" (contains ":" $listen)) -}}
{{- else if eq .Values.peerTls.mode "insecure" -}}
{{- $_ := set $peer "insecure" true -}}
{{- else -}}
{{- $_ := set $peer "tls_certificate" (printf "%s/peer-tls/tls.crt" $secrets) -}}
{{- $_ := set $peer "tls_key" (printf "%s/peer-tls/tls.key" $secrets) -}}
{{- $_ := set $peer "tls_ca" (printf "%s/peer-tls/ca.crt" $secrets) -}}
{{- if eq .Values.peerTls.mode "certManager" }}{{ $_ := set $peer "require_cluster_in_certificate" true }}{{ end -}}
{{- end -}}
{{- $cluster := dict "start" "ordinal" "id" (include "cratekeeper.clusterId" .) "admin_login" .Values.admin.login "admin_token_file" (printf "%s/admin/token" $secrets) -}}
{{- $config := dict "node" $node "http" $http "peer" $peer "cluster" $cluster -}}
{{- $_ := set $config "ops" (dict "listen" (printf "%s:9090" $listen)) -}}
{{- $_ := set $config "log" (dict "format" .Values.log.format "level" .Values.log.level) -}}
{{- $_ := set $config "tarballs" (include "cratekeeper.tarballsConfig" . | fromJson) -}}
{{- with .Values.backup }}
{{- if and .to (not .cronJob.enabled) }}{{ $_ := set $config "backup" (dict "to" .to "every" (default nil .every)) }}{{ end -}}
{{- end -}}
{{- toJson $config -}}
{{- end -}}

{{- define "cratekeeper.tarballsConfig" -}}
{{- $config := dict "kind" .Values.tarballs.kind -}}
{{- if eq .Values.tarballs.kind "disk" -}}
{{- $_ := set $config "directory" (ternary "/var/lib/cratekeeper-tarballs" "/var/lib/cratekeeper/tarballs" (not (empty .Values.tarballs.disk.existingClaim))) -}}
{{- else -}}
{{- with .Values.tarballs.s3 -}}
{{- $_ := set $config "bucket" .bucket -}}
{{- if .prefix }}{{ $_ := set $config "prefix" .prefix }}{{ end -}}
{{- if .region }}{{ $_ := set $config "region" .region }}{{ end -}}
{{- if .endpoint }}{{ $_ := set $config "endpoint" .endpoint }}{{ end -}}
{{- if .pathStyle }}{{ $_ := set $config "path_style" true }}{{ end -}}
{{- if .redirectSeconds }}{{ $_ := set $config "redirect_seconds" .redirectSeconds }}{{ end -}}
{{- end -}}
{{- if include "cratekeeper.s3Secret" . }}{{ $_ := set $config "secret_access_key_file" "/run/cratekeeper/s3/secret-access-key" }}{{ end -}}
{{- end -}}
{{- toJson $config -}}
{{- end -}}

{{/* With `config`, as JSON. A key that has two places would have two truths. */}}
{{- define "cratekeeper.stableConfig" -}}
{{- $config := include "cratekeeper.fixedConfig" . | fromJson -}}
{{- range $section, $keys := .Values.config -}}
{{- $fixed := default dict (get $config $section) -}}
{{- range $key, $value := $keys -}}
{{- if or (hasKey $fixed $key) (has (printf "%s.%s" $section $key) (list "node.name" "node.role" "peer.advertise" "cluster.peers" "cluster.restore_from" "cluster.restore_until" "tarballs.access_key_id")) -}}
{{- fail (printf "config.%s.%s: the chart sets this key from other values (see the table in its README); remove it from config" $section $key) -}}
{{- end -}}
{{- if has $key (list "admin_token" "secret_access_key") -}}
{{- fail (printf "config.%s.%s: a secret does not belong into a ConfigMap; use admin.existingSecret, tarballs.s3.existingSecret or extraEnv with a secretKeyRef" $section $key) -}}
{{- end -}}
{{- $_ := set $fixed $key $value -}}
{{- end -}}
{{- $_ := set $config $section $fixed -}}
{{- end -}}
{{- toJson $config -}}
{{- end -}}

{{/* With what only an empty node reads when it starts, so that changing it needs no restart: peers and restore. */}}
{{- define "cratekeeper.config" -}}
{{- $root := . -}}
{{- $config := include "cratekeeper.stableConfig" . | fromJson -}}
{{- $peers := list -}}
{{- range $ordinal := until (int .Values.replicas) -}}
{{- $peers = append $peers (printf "%s-%d.%s:8081" (include "cratekeeper.fullname" $root) $ordinal (include "cratekeeper.peerDomain" $root)) -}}
{{- end -}}
{{- $_ := set $config.cluster "peers" $peers -}}
{{- if .Values.restore.from }}{{ $_ := set $config.cluster "restore_from" .Values.restore.from }}{{ end -}}
{{- if .Values.restore.until }}{{ $_ := set $config.cluster "restore_until" .Values.restore.until }}{{ end -}}
{{- toJson $config -}}
{{- end -}}
