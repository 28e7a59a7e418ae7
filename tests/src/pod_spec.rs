//! What a kubelet makes of a pod's specification: environment, arguments, security context, and the files of its volumes.

use k8s_openapi::api::core::v1::{
    ConfigMap, Container, EnvVar, KeyToPath, PodSpec, Secret, SecurityContext, Volume,
};

use crate::container::ContainerSpec;
use crate::containers::IMAGE;
use crate::pods::Manifests;

/// A file of a volume, relative to where it is mounted.
#[derive(Debug, Clone)]
pub(crate) struct VolumeFile {
    pub(crate) path: String,
    pub(crate) content: Vec<u8>,
    pub(crate) mode: u32,
}

/// The pod's first container, without its volumes. The image is the one that was built.
pub(crate) fn container(
    manifests: &Manifests,
    pod: &PodSpec,
    name: &str,
    namespace: &str,
) -> ContainerSpec {
    let container = &pod.containers[0];
    let environment = environment(manifests, container, name, namespace);
    let expanded = |words: &Option<Vec<String>>| -> Option<Vec<String>> {
        let words = words.as_ref()?;
        Some(
            words
                .iter()
                .map(|word| expand(word, &environment))
                .collect(),
        )
    };
    let mut spec = ContainerSpec {
        name: name.to_owned(),
        hostname: name.to_owned(),
        image: IMAGE.to_owned(),
        entrypoint: expanded(&container.command),
        arguments: expanded(&container.args),
        ..ContainerSpec::default()
    };
    spec.environment = environment;
    let context = pod.security_context.as_ref();
    if let Some(user) = context.and_then(|context| context.run_as_user) {
        let group = context
            .and_then(|context| context.run_as_group)
            .unwrap_or(0);
        spec.user = Some(format!("{user}:{group}"));
    }
    let group = context.and_then(|context| context.fs_group);
    spec.groups = group.iter().map(ToString::to_string).collect();
    if let Some(context) = &container.security_context {
        secure(&mut spec, context);
    }
    spec
}

fn secure(spec: &mut ContainerSpec, context: &SecurityContext) {
    assert_ne!(
        context.privileged,
        Some(true),
        "no pod of ours is privileged"
    );
    spec.read_only = context.read_only_root_filesystem == Some(true);
    spec.no_new_privileges = context.allow_privilege_escalation == Some(false);
    let drop = context
        .capabilities
        .as_ref()
        .and_then(|all| all.drop.clone());
    let drop = drop.unwrap_or_default();
    spec.dropped_capabilities = drop.iter().map(|name| name.to_lowercase()).collect();
    if let Some(user) = context.run_as_user {
        spec.user = Some(format!("{user}:{}", context.run_as_group.unwrap_or(0)));
    }
}

fn environment(
    manifests: &Manifests,
    container: &Container,
    name: &str,
    namespace: &str,
) -> Vec<(String, String)> {
    assert!(container.env_from.as_deref().unwrap_or(&[]).is_empty());
    let mut known = Vec::new();
    for variable in container.env.iter().flatten() {
        let value = match &variable.value {
            Some(value) => expand(value, &known),
            None => value_from(manifests, variable, name, namespace),
        };
        known.push((variable.name.clone(), value));
    }
    known
}

fn value_from(manifests: &Manifests, variable: &EnvVar, name: &str, namespace: &str) -> String {
    let Some(source) = &variable.value_from else {
        return String::new();
    };
    if let Some(field) = &source.field_ref {
        return match field.field_path.as_str() {
            "metadata.name" => name.to_owned(),
            "metadata.namespace" => namespace.to_owned(),
            other => panic!("{}: no field {other} here", variable.name),
        };
    }
    let reference = source.secret_key_ref.as_ref();
    let reference = reference.unwrap_or_else(|| panic!("{}: from where?", variable.name));
    let content = secret_content(manifests, &reference.name, &reference.key);
    String::from_utf8(content).expect("a variable is text")
}

/// `$(NAME)` of what was said before; an unknown name stays as it is.
fn expand(text: &str, known: &[(String, String)]) -> String {
    known.iter().fold(text.to_owned(), |text, (name, value)| {
        text.replace(&format!("$({name})"), value)
    })
}

/// The files of a Secret or ConfigMap; nothing for a volume of another kind.
pub(crate) fn files(manifests: &Manifests, volume: &Volume) -> Option<Vec<VolumeFile>> {
    if let Some(source) = &volume.secret {
        let name = source.secret_name.as_deref().expect("a Secret has a name");
        let secret: Secret = manifests.get("Secret", name);
        let keys = secret.string_data.into_iter().flatten().map(|(key, _)| key);
        let keys = keys.chain(secret.data.into_iter().flatten().map(|(key, _)| key));
        let content = |key: &str| secret_content(manifests, name, key);
        let items = source.items.as_deref();
        return Some(chosen(keys.collect(), items, source.default_mode, content));
    }
    let source = volume.config_map.as_ref()?;
    let map: ConfigMap = manifests.get("ConfigMap", &source.name);
    let content = map.data.unwrap_or_default();
    let keys = content.keys().cloned().collect();
    let text = |key: &str| content[key].clone().into_bytes();
    Some(chosen(
        keys,
        source.items.as_deref(),
        source.default_mode,
        text,
    ))
}

fn chosen(
    keys: Vec<String>,
    items: Option<&[KeyToPath]>,
    mode: Option<i32>,
    content: impl Fn(&str) -> Vec<u8>,
) -> Vec<VolumeFile> {
    let mode = mode.map_or(0o644, i32::unsigned_abs);
    let file = |key: &str, path: &str, mode: u32| VolumeFile {
        path: path.to_owned(),
        content: content(key),
        mode,
    };
    match items {
        None => keys.iter().map(|key| file(key, key, mode)).collect(),
        Some(items) => {
            let files = items.iter().map(|item| {
                let mode = item.mode.map_or(mode, i32::unsigned_abs);
                file(&item.key, &item.path, mode)
            });
            files.collect()
        }
    }
}

fn secret_content(manifests: &Manifests, name: &str, key: &str) -> Vec<u8> {
    let secret: Secret = manifests.get("Secret", name);
    let text = secret.string_data.unwrap_or_default().remove(key);
    let bytes = secret.data.unwrap_or_default().remove(key);
    let content = text.map(String::into_bytes).or(bytes.map(|bytes| bytes.0));
    content.unwrap_or_else(|| panic!("the Secret {name} has no {key}"))
}
