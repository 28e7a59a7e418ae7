{{/* What a schema cannot say. Each refusal names the value, the rule and the way out. */}}

{{- define "cratekeeper.checks" -}}
{{- $replicas := int .Values.replicas -}}
{{- if not (has $replicas (list 1 3 5)) -}}
{{- fail (printf "replicas: %d nodes bear no more failures than %d and need more of them to agree; choose 1, 3 or 5" $replicas (sub $replicas 1)) -}}
{{- end -}}
{{- $several := or (gt $replicas 1) .Values.readReplicas.enabled -}}
{{- if and $several (eq .Values.tarballs.kind "disk") (not .Values.tarballs.disk.existingClaim) -}}
{{- fail "tarballs: more than one node needs tarballs that every node reaches; set tarballs.kind=s3 with tarballs.s3.bucket, or tarballs.disk.existingClaim to a ReadWriteMany claim" -}}
{{- end -}}
{{- if and $several (not .Values.peerTls.mode) -}}
{{- fail "peerTls.mode: more than one node needs mutual TLS between them; set it to certManager, existingSecret or selfSigned, or to insecure if your network encrypts for you" -}}
{{- end -}}
{{- include "cratekeeper.checkSecrets" . -}}
{{- include "cratekeeper.checkScaleDown" . -}}
{{- include "cratekeeper.checkBudget" . -}}
{{- if and .Values.backup.every (not .Values.backup.to) -}}
{{- fail "backup.every is set without backup.to: say where backups go, as s3://bucket/prefix or an absolute path" -}}
{{- end -}}
{{- if and .Values.backup.cronJob.enabled (or .Values.backup.every (not .Values.backup.to)) -}}
{{- fail "backup.cronJob.enabled needs backup.to and takes the place of backup.every: set the first, and leave the second empty" -}}
{{- end -}}
{{- if and .Values.restore.until (not .Values.restore.from) -}}
{{- fail "restore.until is set without restore.from: say which backup, as s3://bucket/prefix or a path" -}}
{{- end -}}
{{- if and .Values.ingress.enabled (not .Values.ingress.hosts) -}}
{{- fail "ingress.enabled needs ingress.hosts: name the host, such as crates.example.org" -}}
{{- end -}}
{{- if and .Values.httpRoute.enabled (not .Values.httpRoute.parentRefs) -}}
{{- fail "httpRoute.enabled needs httpRoute.parentRefs: name the Gateway, such as [{name: public, namespace: gateways}]" -}}
{{- end -}}
{{- end -}}

{{- define "cratekeeper.checkSecrets" -}}
{{- if and (eq .Values.tls.mode "existingSecret") (not .Values.tls.existingSecret) -}}
{{- fail "tls.mode=existingSecret needs tls.existingSecret: name the Secret with tls.crt and tls.key" -}}
{{- end -}}
{{- if and (eq .Values.tls.mode "certManager") (not .Values.tls.certManager.issuerRef) -}}
{{- fail "tls.mode=certManager needs tls.certManager.issuerRef: name the Issuer, such as {name: letsencrypt, kind: ClusterIssuer}" -}}
{{- end -}}
{{- if and (eq .Values.peerTls.mode "existingSecret") (not .Values.peerTls.existingSecret) -}}
{{- fail "peerTls.mode=existingSecret needs peerTls.existingSecret: name the Secret with tls.crt, tls.key and ca.crt" -}}
{{- end -}}
{{- with .Values.tarballs -}}
{{- if and (eq .kind "s3") (not .s3.bucket) -}}
{{- fail "tarballs.kind=s3 needs tarballs.s3.bucket: name the bucket; the chart does not make it" -}}
{{- end -}}
{{- if ne (empty .s3.accessKeyId) (empty .s3.secretAccessKey) -}}
{{- fail "tarballs.s3.accessKeyId and tarballs.s3.secretAccessKey go together: set both, or better tarballs.s3.existingSecret" -}}
{{- end -}}
{{- if and .s3.accessKeyId .s3.existingSecret -}}
{{- fail "tarballs.s3.existingSecret and tarballs.s3.accessKeyId are both set: keep one, better the Secret" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* A voter that is switched off stays a voter: it must leave the cluster before its pod goes. */}}
{{- define "cratekeeper.checkScaleDown" -}}
{{- $live := lookup "apps/v1" "StatefulSet" .Release.Namespace (include "cratekeeper.fullname" .) -}}
{{- if and $live (not .Values.allowScaleDown) -}}
{{- $running := int (dig "spec" "replicas" 1 $live) -}}
{{- if lt (int .Values.replicas) $running -}}
{{- fail (printf "replicas: %d nodes run and %d are asked for, but a node that is only switched off keeps its vote; for each pod with an ordinal from %d on, the highest first, run `cratekeeper cluster remove NODE` (`cratekeeper cluster status` shows the ids), and then upgrade with --set replicas=%d --set allowScaleDown=true" $running (int .Values.replicas) (int .Values.replicas) (int .Values.replicas)) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* Seconds that `cratekeeper drain` may take: waiting, handing over the leadership, lingering. */}}
{{- define "cratekeeper.drainSeconds" -}}
{{- add (int .Values.drain.waitSeconds) (int .Values.drain.lingerSeconds) 10 -}}
{{- end -}}

{{/* And then requests that run may finish (20 s), and the databases are closed. */}}
{{- define "cratekeeper.stopSeconds" -}}
{{- add (include "cratekeeper.drainSeconds" .) 30 -}}
{{- end -}}

{{- define "cratekeeper.checkBudget" -}}
{{- $needed := int (include "cratekeeper.stopSeconds" .) -}}
{{- with .Values.terminationGracePeriodSeconds -}}
{{- if lt (int .) $needed -}}
{{- fail (printf "terminationGracePeriodSeconds: %d s is less than draining and stopping may take (%d s); raise it, or lower drain.waitSeconds and drain.lingerSeconds" (int .) $needed) -}}
{{- end -}}
{{- end -}}
{{- end -}}
