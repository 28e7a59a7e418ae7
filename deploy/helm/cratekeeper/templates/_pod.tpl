{{/* The pods of voters and readers. Argument everywhere: root, role (voter or reader). */}}

{{- define "cratekeeper.workloadName" -}}
{{- ternary (include "cratekeeper.fullname" .root) (include "cratekeeper.readers" .root) (eq .role "voter") -}}
{{- end -}}

{{- define "cratekeeper.roleLabels" -}}
{{ include "cratekeeper.nodeLabels" .root }}
cratekeeper/role: {{ .role }}
{{- end -}}

{{/* The environment: the chart's, without what extraEnv names, then extraEnv; of equal names the last. As a list, in YAML. */}}
{{- define "cratekeeper.env" -}}
{{- $root := .root -}}
{{- $env := list -}}
{{- $env = append $env (dict "name" "POD_NAME" "valueFrom" (dict "fieldRef" (dict "apiVersion" "v1" "fieldPath" "metadata.name"))) -}}
{{- $env = append $env (dict "name" "CRATEKEEPER_NODE__NAME" "value" "$(POD_NAME)") -}}
{{- $env = append $env (dict "name" "CRATEKEEPER_PEER__ADVERTISE" "value" (printf "$(POD_NAME).%s:8081" (include "cratekeeper.peerDomain" $root))) -}}
{{- if eq .role "reader" -}}
{{- $env = append $env (dict "name" "CRATEKEEPER_NODE__ROLE" "value" "reader") -}}
{{- $env = append $env (dict "name" "CRATEKEEPER_CLUSTER__START" "value" "join") -}}
{{- end -}}
{{- $env = concat $env (include "cratekeeper.s3Env" $root | fromYamlArray) -}}
{{- toYaml (include "cratekeeper.lastOfEach" (dict "env" (concat $env $root.Values.extraEnv)) | fromYamlArray) -}}
{{- end -}}

{{- define "cratekeeper.s3Env" -}}
{{- with include "cratekeeper.s3Secret" . -}}
{{- $key := $.Values.tarballs.s3.existingSecret | empty | ternary "access-key-id" $.Values.tarballs.s3.accessKeyIdKey -}}
- name: CRATEKEEPER_TARBALLS__ACCESS_KEY_ID
  valueFrom:
    secretKeyRef:
      name: {{ . | quote }}
      key: {{ $key | quote }}
{{- else -}}
[]
{{- end -}}
{{- end -}}

{{- define "cratekeeper.lastOfEach" -}}
{{- $last := dict -}}
{{- range .env }}{{ $_ := set $last .name . }}{{ end -}}
{{- $seen := dict -}}
{{- $kept := list -}}
{{- range .env -}}
{{- if not (hasKey $seen .name) -}}
{{- $_ := set $seen .name true -}}
{{- $kept = append $kept (get $last .name) -}}
{{- end -}}
{{- end -}}
{{- toYaml $kept -}}
{{- end -}}

{{- define "cratekeeper.s3Volume" -}}
- name: s3
  secret:
    secretName: {{ include "cratekeeper.s3Secret" . | quote }}
    defaultMode: 288
    items:
      - key: {{ .Values.tarballs.s3.existingSecret | empty | ternary "secret-access-key" .Values.tarballs.s3.secretAccessKeyKey }}
        path: secret-access-key
{{- end -}}

{{/* Volumes without the data; 288 is 0440. */}}
{{- define "cratekeeper.volumes" -}}
{{- $root := .root -}}
- name: config
  configMap:
    name: {{ include "cratekeeper.fullname" $root | quote }}
- name: tmp
  emptyDir: {}
- name: admin
  secret:
    secretName: {{ include "cratekeeper.adminSecret" $root | quote }}
    defaultMode: 288
    items:
      - key: {{ $root.Values.admin.existingSecret | empty | ternary "token" $root.Values.admin.secretKey | quote }}
        path: token
{{- if include "cratekeeper.s3Secret" $root }}
{{ include "cratekeeper.s3Volume" $root }}
{{- end }}
{{- with include "cratekeeper.tlsSecret" $root }}
- name: tls
  secret:
    secretName: {{ . | quote }}
    defaultMode: 288
{{- end }}
{{- with include "cratekeeper.peerSecret" $root }}
- name: peer-tls
  secret:
    secretName: {{ . | quote }}
    defaultMode: 288
{{- end }}
{{- if eq (include "cratekeeper.sharedDisk" $root) "yes" }}
- name: tarballs
  persistentVolumeClaim:
    claimName: {{ $root.Values.tarballs.disk.existingClaim | quote }}
{{- end }}
{{- if not $root.Values.persistence.enabled }}
- name: data-ephemeral
  emptyDir: {}
{{- end }}
{{- with $root.Values.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "cratekeeper.sharedDisk" -}}
{{- if and (eq .Values.tarballs.kind "disk") .Values.tarballs.disk.existingClaim }}yes{{ end -}}
{{- end -}}

{{- define "cratekeeper.mounts" -}}
{{- $root := .root -}}
- name: {{ ternary "data" "data-ephemeral" $root.Values.persistence.enabled | quote }}
  mountPath: /var/lib/cratekeeper
- name: config
  mountPath: /etc/cratekeeper
  readOnly: true
- name: tmp
  mountPath: /tmp
- name: admin
  mountPath: /run/cratekeeper/admin
  readOnly: true
{{- if include "cratekeeper.s3Secret" $root }}
- name: s3
  mountPath: /run/cratekeeper/s3
  readOnly: true
{{- end }}
{{- if include "cratekeeper.tlsSecret" $root }}
- name: tls
  mountPath: /run/cratekeeper/tls
  readOnly: true
{{- end }}
{{- if include "cratekeeper.peerSecret" $root }}
- name: peer-tls
  mountPath: /run/cratekeeper/peer-tls
  readOnly: true
{{- end }}
{{- if eq (include "cratekeeper.sharedDisk" $root) "yes" }}
- name: tarballs
  mountPath: /var/lib/cratekeeper-tarballs
{{- end }}
{{- with $root.Values.extraVolumeMounts }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "cratekeeper.probe" -}}
httpGet:
  path: {{ .path }}
  port: ops
periodSeconds: {{ .times.periodSeconds }}
timeoutSeconds: {{ .times.timeoutSeconds }}
failureThreshold: {{ .times.failureThreshold }}
{{- end -}}

{{- define "cratekeeper.container" -}}
{{- $values := .root.Values -}}
name: cratekeeper
image: {{ include "cratekeeper.image" .root | quote }}
imagePullPolicy: {{ $values.image.pullPolicy }}
args:
  - serve
env:
  {{- include "cratekeeper.env" . | nindent 2 }}
{{- with $values.extraEnvFrom }}
envFrom:
  {{- toYaml . | nindent 2 }}
{{- end }}
ports:
  - name: http
    containerPort: 8080
  - name: peer
    containerPort: 8081
  - name: ops
    containerPort: 9090
startupProbe:
  {{- include "cratekeeper.probe" (dict "path" "/livez" "times" $values.probes.startup) | nindent 2 }}
livenessProbe:
  {{- include "cratekeeper.probe" (dict "path" "/livez" "times" $values.probes.liveness) | nindent 2 }}
readinessProbe:
  {{- include "cratekeeper.probe" (dict "path" "/readyz" "times" $values.probes.readiness) | nindent 2 }}
lifecycle:
  preStop:
    exec:
      command:
        - /usr/bin/cratekeeper
        - drain
        - --timeout
        - {{ include "cratekeeper.drainSeconds" .root | quote }}
{{- $reader := and (eq .role "reader") (not (kindIs "invalid" $values.readReplicas.resources)) }}
{{- with ternary $values.readReplicas.resources $values.resources $reader }}
resources:
  {{- toYaml . | nindent 2 }}
{{- end }}
securityContext:
  {{- toYaml $values.securityContext | nindent 2 }}
volumeMounts:
  {{- include "cratekeeper.mounts" . | nindent 2 }}
{{- end -}}

{{/* A value of readReplicas, or the voters' one where it is null. */}}
{{- define "cratekeeper.placement" -}}
{{- $values := .root.Values -}}
{{- $own := get $values.readReplicas .key -}}
{{- $value := get $values .key -}}
{{- if and (eq .role "reader") (not (kindIs "invalid" $own)) }}{{ $value = $own }}{{ end -}}
{{- with $value -}}
{{ $.key }}:
  {{- toYaml . | nindent 2 }}
{{- end -}}
{{- end -}}

{{- define "cratekeeper.affinity" -}}
{{- $labels := include "cratekeeper.roleLabels" . | fromYaml -}}
{{- $term := dict "topologyKey" "kubernetes.io/hostname" "labelSelector" (dict "matchLabels" $labels) -}}
{{- $preset := .root.Values.podAntiAffinity -}}
{{- with include "cratekeeper.placement" (dict "root" .root "role" .role "key" "affinity") -}}
{{ . }}
{{- else -}}
{{- if eq $preset "hard" }}
affinity:
  podAntiAffinity:
    requiredDuringSchedulingIgnoredDuringExecution:
      - {{- toYaml $term | nindent 8 }}
{{- else if eq $preset "soft" }}
affinity:
  podAntiAffinity:
    preferredDuringSchedulingIgnoredDuringExecution:
      - weight: 100
        podAffinityTerm:
          {{- toYaml $term | nindent 10 }}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "cratekeeper.spread" -}}
{{- $labels := include "cratekeeper.roleLabels" . -}}
{{- if kindIs "invalid" .root.Values.topologySpreadConstraints -}}
topologySpreadConstraints:
{{- range list "topology.kubernetes.io/zone" "kubernetes.io/hostname" }}
  - maxSkew: 1
    topologyKey: {{ . }}
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels:
        {{- $labels | nindent 8 }}
{{- end }}
{{- else -}}
{{- with .root.Values.topologySpreadConstraints -}}
topologySpreadConstraints:
  {{- toYaml . | nindent 2 }}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "cratekeeper.podSpec" -}}
{{- $root := .root -}}
{{- $values := .root.Values -}}
serviceAccountName: {{ include "cratekeeper.serviceAccount" $root | quote }}
automountServiceAccountToken: false
enableServiceLinks: false
terminationGracePeriodSeconds: {{ default (include "cratekeeper.stopSeconds" $root) $values.terminationGracePeriodSeconds }}
securityContext:
  {{- toYaml $values.podSecurityContext | nindent 2 }}
{{- with $values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $values.priorityClassName }}
priorityClassName: {{ . | quote }}
{{- end }}
{{- with $values.initContainers }}
initContainers:
  {{- toYaml . | nindent 2 }}
{{- end }}
containers:
  - {{- include "cratekeeper.container" . | nindent 4 }}
{{- with $values.extraContainers }}
  {{- toYaml . | nindent 2 }}
{{- end }}
volumes:
  {{- include "cratekeeper.volumes" . | nindent 2 }}
{{- range $key := list "nodeSelector" "tolerations" }}
{{- with include "cratekeeper.placement" (dict "root" $root "role" $.role "key" $key) }}
{{ . }}
{{- end }}
{{- end }}
{{- with include "cratekeeper.affinity" . }}
{{ trim . }}
{{- end }}
{{- with include "cratekeeper.spread" . }}
{{ . }}
{{- end }}
{{- end -}}

{{/* A restart is needed for what is hashed here, and for nothing else. Certificates and peers are not. */}}
{{- define "cratekeeper.podTemplate" -}}
{{- $values := .root.Values -}}
metadata:
  labels:
    {{- $fixed := include "cratekeeper.roleLabels" . | fromYaml -}}
    {{- toYaml (mergeOverwrite (dict) $values.commonLabels $values.podLabels $fixed) | nindent 4 }}
  annotations:
    checksum/config: {{ include "cratekeeper.stableConfig" .root | sha256sum }}
    {{- if and $values.tarballs.s3.accessKeyId (eq $values.tarballs.kind "s3") }}
    checksum/s3: {{ printf "%s:%s" $values.tarballs.s3.accessKeyId $values.tarballs.s3.secretAccessKey | sha256sum }}
    {{- end }}
    {{- with $values.podAnnotations }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
spec:
  {{- include "cratekeeper.podSpec" . | nindent 2 }}
{{- end -}}

{{/* With apiVersion and kind, as the API server answers it: tools that compare would see a difference for ever. No label may change here. */}}
{{- define "cratekeeper.claims" -}}
{{- $persistence := .root.Values.persistence -}}
persistentVolumeClaimRetentionPolicy:
  whenDeleted: {{ $persistence.retention.whenDeleted }}
  whenScaled: {{ $persistence.retention.whenScaled }}
volumeClaimTemplates:
  - apiVersion: v1
    kind: PersistentVolumeClaim
    metadata:
      name: data
      labels:
        {{- include "cratekeeper.roleLabels" . | nindent 8 }}
      {{- with $persistence.annotations }}
      annotations:
        {{- toYaml . | nindent 8 }}
      {{- end }}
    spec:
      accessModes:
        {{- toYaml $persistence.accessModes | nindent 8 }}
      {{- with $persistence.storageClass }}
      storageClassName: {{ . | quote }}
      {{- end }}
      volumeMode: Filesystem
      resources:
        requests:
          storage: {{ $persistence.size | quote }}
{{- end -}}
