{{/* TOML from values. Helm's own toToml writes every number of a values file as a float, which the server refuses. */}}

{{- define "cratekeeper.tomlValue" -}}
{{- if kindIs "string" . -}}
{{- toRawJson . -}}
{{- else if kindIs "bool" . -}}
{{- . -}}
{{- else if kindIs "slice" . -}}
[{{ range $at, $value := . }}{{ if $at }}, {{ end }}{{ include "cratekeeper.tomlValue" $value }}{{ end }}]
{{- else if eq (float64 (int64 .)) (float64 .) -}}
{{- int64 . -}}
{{- else -}}
{{- . -}}
{{- end -}}
{{- end -}}

{{/* Sections and keys in alphabetical order, whatever is null left out. */}}
{{- define "cratekeeper.toml" -}}
{{- range $section, $keys := . }}
[{{ $section }}]
{{- range $key, $value := $keys }}
{{- if not (kindIs "invalid" $value) }}
{{ $key }} = {{ include "cratekeeper.tomlValue" $value }}
{{- end }}
{{- end }}
{{ end -}}
{{- end -}}
