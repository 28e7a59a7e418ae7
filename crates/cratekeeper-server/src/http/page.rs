//! Query strings: read leniently where cargo asks, strictly where an administrator does.

use cratekeeper_domain::{Rejection, RejectionKind};
use url::form_urlencoded;
use utoipa::IntoParams;

use super::limits::{LIST_ITEMS_DEFAULT, LIST_ITEMS_MAX};

#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "only its description is used")]
pub(crate) struct ListQuery {
    /// How many items of the list at most; more than 1000 is 1000. Default 100.
    #[param(minimum = 1)]
    limit: Option<u64>,
}

/// The last value of `key`, decoded.
pub(crate) fn parameter(query: Option<&str>, key: &str) -> Option<String> {
    form_urlencoded::parse(query?.as_bytes())
        .filter(|(name, _)| name == key)
        .last()
        .map(|(_, value)| value.into_owned())
}

/// `limit`: how many items of a list, at least one; more than the maximum is the maximum.
pub(crate) fn limit(query: Option<&str>) -> Result<usize, Rejection> {
    match number(query, "limit")? {
        None => Ok(LIST_ITEMS_DEFAULT),
        Some(limit) => Ok(usize::try_from(limit)
            .unwrap_or(LIST_ITEMS_MAX)
            .clamp(1, LIST_ITEMS_MAX)),
    }
}

/// A number, if the key is there.
pub(crate) fn number(query: Option<&str>, key: &str) -> Result<Option<u64>, Rejection> {
    parameter(query, key)
        .map(|text| {
            text.parse().map_err(|_| {
                Rejection::new(
                    RejectionKind::Invalid,
                    format!("`{key}` must be a whole number, and `{text}` is not"),
                )
            })
        })
        .transpose()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_decoded_and_the_last_one_counts() {
        let query = Some("q=a&q=be%20ta%2Bx&per_page=");
        assert_eq!(parameter(query, "q").as_deref(), Some("be ta+x"));
        assert_eq!(parameter(query, "per_page").as_deref(), Some(""));
        assert_eq!(parameter(query, "page"), None);
        assert_eq!(parameter(None, "q"), None);
    }

    #[test]
    fn limits_are_bounded_and_nonsense_is_refused() {
        assert_eq!(limit(None), Ok(LIST_ITEMS_DEFAULT));
        assert_eq!(limit(Some("limit=0")), Ok(1));
        assert_eq!(limit(Some("limit=99999999")), Ok(LIST_ITEMS_MAX));
        assert!(limit(Some("limit=all")).is_err());
    }
}
