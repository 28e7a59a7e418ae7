//! What helm printed, taken apart into documents.

use std::collections::BTreeMap;

use k8s_openapi::ByteString;
use serde_json::Value;

#[derive(Debug, Clone)]
pub struct Document {
    /// The template it comes from.
    pub source: String,
    pub kind: String,
    pub name: String,
    pub value: Value,
    pub text: String,
}

#[derive(Debug, Clone)]
pub struct Rendering {
    pub documents: Vec<Document>,
}

impl Rendering {
    pub fn parse(text: &str) -> Rendering {
        let mut documents = Vec::new();
        for text in format!("\n{text}").split("\n---\n") {
            if let Some(document) = Document::parse(text) {
                documents.push(document);
            }
        }
        Rendering { documents }
    }

    pub fn of_kind<'a, 'k>(
        &'a self,
        kind: &'k str,
    ) -> impl Iterator<Item = &'a Document> + use<'a, 'k> {
        self.documents
            .iter()
            .filter(move |document| document.kind == kind)
    }

    pub fn find(&self, kind: &str, name: &str) -> Option<&Document> {
        self.of_kind(kind).find(|document| document.name == name)
    }

    /// The one of this kind with this name; panics without it.
    pub fn get(&self, kind: &str, name: &str) -> &Value {
        let found = self.find(kind, name);
        &found
            .unwrap_or_else(|| panic!("{kind}/{name} is not rendered"))
            .value
    }

    /// The content of a Secret, decoded.
    pub fn secret(&self, name: &str) -> BTreeMap<String, Vec<u8>> {
        let data = self.get("Secret", name)["data"].clone();
        let data: BTreeMap<String, ByteString> =
            serde_json::from_value(data).expect("a Secret's data is base64");
        data.into_iter()
            .map(|(key, bytes)| (key, bytes.0))
            .collect()
    }
}

impl Document {
    fn parse(text: &str) -> Option<Document> {
        let source = text
            .lines()
            .find_map(|line| line.strip_prefix("# Source: "))
            .unwrap_or_default();
        let value: Value = serde_saphyr::from_str(text)
            .unwrap_or_else(|error| panic!("not YAML: {error}\n{text}"));
        if value.is_null() {
            return None;
        }
        let field = |value: &Value| value.as_str().map(str::to_owned);
        Some(Document {
            source: source.to_owned(),
            kind: field(&value["kind"]).unwrap_or_else(|| panic!("no kind:\n{text}")),
            name: field(&value["metadata"]["name"])
                .unwrap_or_else(|| panic!("no name, or one that is no text:\n{text}")),
            value,
            text: text.trim().to_owned(),
        })
    }
}

/// The members of a list, none where there is no list.
pub(super) fn list<'a>(value: &'a Value, path: &str) -> impl Iterator<Item = &'a Value> {
    value
        .pointer(path)
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
}

pub(super) fn text<'a>(value: &'a Value, path: &str) -> &'a str {
    value
        .pointer(path)
        .and_then(Value::as_str)
        .unwrap_or_default()
}

/// Does something with `labels` match `selector`? An empty selector matches nothing here: none of ours may be empty.
pub(super) fn matches(selector: &Value, labels: &Value) -> bool {
    selector.as_object().is_some_and(|wanted| {
        !wanted.is_empty() && wanted.iter().all(|(key, value)| labels[key] == *value)
    })
}
