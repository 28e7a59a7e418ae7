{{/* The first administrator's token, in the form the server checks: `ck_`, 43 random characters, and the first four bytes of their
SHA-256 in base 62. */}}

{{- define "cratekeeper.newToken" -}}
{{- $text := printf "ck_%s" (randAlphaNum 43) -}}
{{- $digits := "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz" -}}
{{- $number := int64 (printf "0x%s" (sha256sum $text | trunc 8)) -}}
{{- $check := "" -}}
{{- range until 6 -}}
{{- $at := int (mod $number 62) -}}
{{- $check = printf "%s%s" (substr $at (int (add $at 1)) $digits) $check -}}
{{- $number = div $number 62 -}}
{{- end -}}
{{- $text }}{{ $check -}}
{{- end -}}
