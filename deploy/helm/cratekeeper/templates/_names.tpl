{{/* Names and labels. */}}

{{- define "cratekeeper.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 40 | trimSuffix "-" -}}
{{- end -}}

{{/* Short enough for every suffix, an ordinal and the hash that a StatefulSet puts behind it. */}}
{{- define "cratekeeper.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- $name := include "cratekeeper.name" . -}}
{{- ternary .Release.Name (printf "%s-%s" .Release.Name $name) (contains $name .Release.Name) | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "cratekeeper.headless" -}}
{{- include "cratekeeper.fullname" . }}-peers
{{- end -}}

{{- define "cratekeeper.readers" -}}
{{- include "cratekeeper.fullname" . }}-readers
{{- end -}}

{{/* What stands behind a pod's name in its stable address. */}}
{{- define "cratekeeper.peerDomain" -}}
{{- printf "%s.%s.svc.%s" (include "cratekeeper.headless" .) .Release.Namespace .Values.clusterDomain -}}
{{- end -}}

{{- define "cratekeeper.serviceHost" -}}
{{- printf "%s.%s.svc.%s" (include "cratekeeper.fullname" .) .Release.Namespace .Values.clusterDomain -}}
{{- end -}}

{{- define "cratekeeper.servicePort" -}}
{{- default (ternary 80 443 (eq .Values.tls.mode "none")) .Values.service.port -}}
{{- end -}}

{{/* Inside of the Kubernetes cluster. */}}
{{- define "cratekeeper.serviceUrl" -}}
{{- $scheme := ternary "http" "https" (eq .Values.tls.mode "none") -}}
{{- $port := include "cratekeeper.servicePort" . -}}
{{- $usual := ternary "80" "443" (eq $scheme "http") -}}
{{- printf "%s://%s%s" $scheme (include "cratekeeper.serviceHost" .) (ternary "" (printf ":%s" $port) (eq $port $usual)) -}}
{{- end -}}

{{- define "cratekeeper.publicUrl" -}}
{{- $ingress := and .Values.ingress.enabled .Values.ingress.hosts -}}
{{- if .Values.publicUrl -}}
{{- .Values.publicUrl | trimSuffix "/" -}}
{{- else if $ingress -}}
{{- printf "%s://%s" (ternary "https" "http" (not (empty .Values.ingress.tls))) (first .Values.ingress.hosts) -}}
{{- else if and .Values.httpRoute.enabled .Values.httpRoute.hostnames -}}
{{- printf "https://%s" (first .Values.httpRoute.hostnames) -}}
{{- else -}}
{{- include "cratekeeper.serviceUrl" . -}}
{{- end -}}
{{- end -}}

{{- define "cratekeeper.serviceAccount" -}}
{{- default (ternary (include "cratekeeper.fullname" .) "default" .Values.serviceAccount.create) .Values.serviceAccount.name -}}
{{- end -}}

{{- define "cratekeeper.image" -}}
{{- if .Values.image.digest -}}
{{- printf "%s@%s" .Values.image.repository .Values.image.digest -}}
{{- else -}}
{{- printf "%s:%s" .Values.image.repository (default .Chart.AppVersion .Values.image.tag) -}}
{{- end -}}
{{- end -}}

{{/* What never changes: these are in selectors and in claims. */}}
{{- define "cratekeeper.selectorLabels" -}}
app.kubernetes.io/name: {{ include "cratekeeper.name" . | quote }}
app.kubernetes.io/instance: {{ .Release.Name | quote }}
{{- end -}}

{{- define "cratekeeper.nodeLabels" -}}
{{ include "cratekeeper.selectorLabels" . }}
app.kubernetes.io/component: node
{{- end -}}

{{/* Metadata of an object. Arguments: root, name, component, labels, annotations; the last three may be missing. */}}
{{- define "cratekeeper.metadata" -}}
{{- $root := .root -}}
name: {{ .name | quote }}
namespace: {{ $root.Release.Namespace | quote }}
labels:
  {{- $labels := include "cratekeeper.selectorLabels" $root | fromYaml -}}
  {{- $own := dict "helm.sh/chart" (printf "%s-%s" $root.Chart.Name $root.Chart.Version | replace "+" "_" | trunc 63) -}}
  {{- $_ := set $own "app.kubernetes.io/managed-by" $root.Release.Service -}}
  {{- $_ := set $own "app.kubernetes.io/version" $root.Chart.AppVersion -}}
  {{- with .component }}{{ $_ := set $own "app.kubernetes.io/component" . }}{{ end -}}
  {{- toYaml (mergeOverwrite (dict) $root.Values.commonLabels (default dict .labels) $labels $own) | nindent 2 }}
{{- with mergeOverwrite (dict) $root.Values.commonAnnotations (default dict .annotations) }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}
