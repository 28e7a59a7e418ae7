//! Entity tags of the index, `"<position>-<hash>"`: which of them a client holds, and how far it has seen.

use http::HeaderMap;
use http::header::IF_NONE_MATCH;

/// May the client keep what it has? Compared weakly, because a proxy that compresses turns `"x"` into `W/"x"`.
pub(crate) fn matches(headers: &HeaderMap, etag: &str) -> bool {
    let wanted = etag.trim_matches('"');
    held(headers).any(|tag| tag == "*" || tag == wanted)
}

/// The highest position among the tags the client sent: it must not be given anything older.
pub(crate) fn known_position(headers: &HeaderMap) -> Option<u64> {
    held(headers)
        .filter_map(|tag| tag.split_once('-')?.0.parse().ok())
        .max()
}

/// The tags of all `If-None-Match` headers, without `W/` and quotes; `*` stands for itself.
fn held(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    headers
        .get_all(IF_NONE_MATCH)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(Tags)
}

struct Tags<'a>(&'a str);

impl<'a> Iterator for Tags<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        let rest = self.0.trim_start_matches([' ', '\t', ',']);
        if let Some(rest) = rest.strip_prefix('*') {
            self.0 = rest;
            return Some("*");
        }
        // What is not a tag ends the list: nothing after it can be trusted to start where it seems to.
        let opened = rest.strip_prefix("W/").unwrap_or(rest).strip_prefix('"')?;
        let (tag, rest) = opened.split_once('"')?;
        self.0 = rest;
        Some(tag)
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn sent(values: &[&'static str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(IF_NONE_MATCH, HeaderValue::from_static(value));
        }
        headers
    }

    #[test]
    fn tags_are_compared_weakly_and_in_lists() {
        let etag = r#""7-abc""#;
        for (values, expected) in [
            (&[r#""7-abc""#][..], true),
            (&[r#"W/"7-abc""#], true),
            (&[r#""1-x", W/"7-abc""#], true),
            (&[r#""1-x""#, r#""7-abc""#], true),
            (&["*"], true),
            (&[r#""7-abcd""#], false),
            (&["7-abc"], false),
            (&[r#""7-abc"#], false),
            (&[""], false),
            (&[], false),
        ] {
            assert_eq!(matches(&sent(values), etag), expected, "{values:?}");
        }
    }

    #[test]
    fn the_highest_position_counts() {
        assert_eq!(known_position(&sent(&[r#""7-a", W/"12-b""#])), Some(12));
        assert_eq!(known_position(&sent(&[r#""7-a-gzip""#])), Some(7));
        assert_eq!(known_position(&sent(&[r#""foreign""#, "*"])), None);
        assert_eq!(known_position(&sent(&[])), None);
    }
}
