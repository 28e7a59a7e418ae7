{{/* Pods that ask the registry and end: the test and the backup. Argument: root, component, args, and where needed
server, env, envFrom, volumes, mounts, resources. */}}

{{- define "cratekeeper.jobLabels" -}}
{{ include "cratekeeper.selectorLabels" .root }}
app.kubernetes.io/component: {{ .component }}
{{- end -}}

{{/* Where they ask: a name that the certificate has. */}}
{{- define "cratekeeper.askUrl" -}}
{{- $named := and (eq .Values.tls.mode "certManager") .Values.tls.certManager.internalNames -}}
{{- if or $named (eq .Values.tls.mode "none") }}{{ include "cratekeeper.serviceUrl" . }}{{ else }}{{ include "cratekeeper.publicUrl" . }}{{ end -}}
{{- end -}}

{{- define "cratekeeper.jobSpec" -}}
{{- $values := .root.Values -}}
restartPolicy: Never
serviceAccountName: {{ include "cratekeeper.serviceAccount" .root | quote }}
automountServiceAccountToken: false
enableServiceLinks: false
securityContext:
  {{- toYaml $values.podSecurityContext | nindent 2 }}
{{- with $values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- range $key := list "nodeSelector" "tolerations" }}
{{- with get $values $key }}
{{ $key }}:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}
containers:
  - name: {{ .component | quote }}
    image: {{ include "cratekeeper.image" .root | quote }}
    imagePullPolicy: {{ $values.image.pullPolicy }}
    args:
      {{- toYaml .args | nindent 6 }}
    env:
      {{- $env := list (dict "name" "CRATEKEEPER_SERVER" "value" (default (include "cratekeeper.askUrl" .root) .server)) }}
      {{- $env = append $env (dict "name" "CRATEKEEPER_TOKEN_FILE" "value" "/run/cratekeeper/admin/token") }}
      {{- include "cratekeeper.lastOfEach" (dict "env" (concat $env (default list .env))) | nindent 6 }}
    {{- with .envFrom }}
    envFrom:
      {{- toYaml . | nindent 6 }}
    {{- end }}
    {{- with .resources }}
    resources:
      {{- toYaml . | nindent 6 }}
    {{- end }}
    securityContext:
      {{- toYaml $values.securityContext | nindent 6 }}
    volumeMounts:
      - name: admin
        mountPath: /run/cratekeeper/admin
        readOnly: true
      {{- with .mounts }}
      {{- toYaml . | nindent 6 }}
      {{- end }}
volumes:
  - name: admin
    secret:
      secretName: {{ include "cratekeeper.adminSecret" .root | quote }}
      defaultMode: 288
      items:
        - key: {{ $values.admin.existingSecret | empty | ternary "token" $values.admin.secretKey | quote }}
          path: token
  {{- with .volumes }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end -}}
