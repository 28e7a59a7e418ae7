{{/* DNS names of every node, and of nodes that are added later. As a JSON list. */}}
{{- define "cratekeeper.peerNames" -}}
{{- $headless := include "cratekeeper.headless" . -}}
{{- $names := list (printf "*.%s" (include "cratekeeper.peerDomain" .)) (printf "*.%s.%s.svc" $headless .Release.Namespace) -}}
{{- toJson (concat $names .Values.peerTls.extraDnsNames) -}}
{{- end -}}
