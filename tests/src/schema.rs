//! Compares JSON with a schema of an OpenAPI document: strictly, so that a field that nobody described is a complaint, too.

use serde_json::Value;

/// What does not fit, or nothing.
pub fn complaints(document: &Value, schema: &Value, value: &Value) -> Vec<String> {
    let mut found = Vec::new();
    let mut at = Place {
        document,
        found: &mut found,
    };
    at.whole(schema, value, "$");
    found
}

struct Place<'a> {
    document: &'a Value,
    found: &'a mut Vec<String>,
}

impl Place<'_> {
    /// `known` collects the properties of this object that some part of the schema describes: `allOf` describes it in parts.
    fn check(&mut self, schema: &Value, value: &Value, path: &str, known: &mut Vec<String>) {
        if let Some(reference) = schema["$ref"].as_str() {
            let pointer = reference.trim_start_matches('#');
            match self.document.pointer(pointer).cloned() {
                Some(target) => self.check(&target, value, path, known),
                None => self
                    .found
                    .push(format!("{path}: {reference} leads nowhere")),
            }
        }
        self.kind(schema, value, path);
        if let Some(allowed) = schema["enum"].as_array()
            && !allowed.contains(value)
        {
            self.found
                .push(format!("{path}: {value} is none of {allowed:?}"));
        }
        for part in schema["allOf"].as_array().into_iter().flatten() {
            self.check(part, value, path, known);
        }
        if let Some(choices) = schema["oneOf"].as_array() {
            self.one_of(choices, value, path, known);
        }
        self.object(schema, value, path, known);
        if let (Some(items), Some(values)) = (schema.get("items"), value.as_array()) {
            for (place, item) in values.iter().enumerate() {
                self.whole(items, item, &format!("{path}[{place}]"));
            }
        }
    }

    /// A value of its own, all of whose properties must be described.
    fn whole(&mut self, schema: &Value, value: &Value, path: &str) {
        let mut known = Vec::new();
        self.check(schema, value, path, &mut known);
        // Where nothing is said about an object, it may be anything.
        let parts = ["$ref", "properties", "allOf", "oneOf"];
        if parts.iter().any(|part| schema.get(part).is_some()) {
            self.nothing_else(value, path, &known);
        }
    }

    fn nothing_else(&mut self, value: &Value, path: &str, known: &[String]) {
        for (name, _) in value.as_object().into_iter().flatten() {
            if !known.contains(name) {
                self.found.push(format!("{path}.{name} is not described"));
            }
        }
    }

    fn kind(&mut self, schema: &Value, value: &Value, path: &str) {
        let fits = |kind: &str| match kind {
            "null" => value.is_null(),
            "string" => value.is_string(),
            "boolean" => value.is_boolean(),
            "integer" => value.is_i64() || value.is_u64(),
            "number" => value.is_number(),
            "array" => value.is_array(),
            "object" => value.is_object(),
            other => panic!("{path}: the type `{other}` does not exist"),
        };
        let fit = match &schema["type"] {
            Value::String(kind) => fits(kind),
            Value::Array(kinds) => kinds.iter().filter_map(Value::as_str).any(fits),
            _ => true,
        };
        if !fit {
            let kind = &schema["type"];
            self.found.push(format!("{path}: {value} is not {kind}"));
        }
    }

    fn one_of(&mut self, choices: &[Value], value: &Value, path: &str, known: &mut Vec<String>) {
        let mut fitting = 0;
        for choice in choices {
            let (mut found, mut seen) = (Vec::new(), Vec::new());
            let mut trial = Place {
                document: self.document,
                found: &mut found,
            };
            trial.check(choice, value, path, &mut seen);
            if found.is_empty() {
                fitting += 1;
                known.extend(seen);
            }
        }
        if fitting != 1 {
            self.found
                .push(format!("{path}: {fitting} choices fit {value}"));
        }
    }

    fn object(&mut self, schema: &Value, value: &Value, path: &str, known: &mut Vec<String>) {
        let Some(object) = value.as_object() else {
            return;
        };
        for name in schema["required"].as_array().into_iter().flatten() {
            let name = name.as_str().unwrap_or_default();
            if !object.contains_key(name) {
                self.found.push(format!("{path}.{name} is missing"));
            }
        }
        for (name, property) in schema["properties"].as_object().into_iter().flatten() {
            if let Some(value) = object.get(name) {
                known.push(name.clone());
                self.whole(property, value, &format!("{path}.{name}"));
            }
        }
        if let Some(others) = schema.get("additionalProperties") {
            for (name, value) in object {
                if schema["properties"].get(name).is_none() {
                    known.push(name.clone());
                    self.whole(others, value, &format!("{path}.{name}"));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn each_way_not_to_fit_is_told() {
        let document = json!({"s": {"type": "object", "required": ["a", "b"], "properties": {
            "a": {"type": "string"}, "b": {"type": ["integer", "null"]},
            "c": {"oneOf": [{"type": "null"}, {"type": "array", "items": {"enum": ["x"]}}]}
        }}});
        let schema =
            json!({"allOf": [{"$ref": "#/s"}, {"properties": {"d": {"type": "boolean"}}}]});
        let told = |value: Value| complaints(&document, &schema, &value).join("; ");
        assert_eq!(told(json!({"a": "", "b": null, "c": ["x"], "d": true})), "");
        assert_eq!(told(json!({"a": "", "b": 1, "c": null})), "");
        assert_eq!(told(json!({"a": ""})), "$.b is missing");
        assert_eq!(told(json!({"a": 1, "b": 1})), "$.a: 1 is not \"string\"");
        assert_eq!(
            told(json!({"a": "", "b": 1, "e": 1})),
            "$.e is not described"
        );
        assert_eq!(
            told(json!({"a": "", "b": 1, "c": ["y"]})),
            "$.c: 0 choices fit [\"y\"]"
        );
    }
}
