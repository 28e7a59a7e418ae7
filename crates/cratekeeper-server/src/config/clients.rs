//! Judges what the configuration says about clients: how often they may ask, and through whom they may come.

use std::net::IpAddr;
use std::num::NonZeroU32;

use anyhow::{Context, bail};
use ipnet::IpNet;

use super::file::Http;
use crate::app::RateLimitSettings;

/// A build asks for everything at once, and there is hardly one with more than five hundred dependencies.
const BURST_MIN: u32 = 1000;
const BURST_SECONDS: u32 = 10;

pub(super) fn rate_limit(http: &Http) -> anyhow::Result<Option<RateLimitSettings>> {
    let Some(per_second) = http.rate_limit_per_second else {
        if let Some(burst) = http.rate_limit_burst {
            bail!(
                "http.rate_limit_burst is {burst}, but there is no limit: set http.rate_limit_per_second, too"
            );
        }
        return Ok(None);
    };
    let usual = per_second.saturating_mul(BURST_SECONDS).max(BURST_MIN);
    let burst = http.rate_limit_burst.unwrap_or(usual);
    let at_least_one = |key: &str, value: u32| {
        NonZeroU32::new(value).with_context(|| {
            format!("{key} is 0, which would refuse everybody; leave it out for no limit")
        })
    };
    Ok(Some(RateLimitSettings {
        per_second: at_least_one("http.rate_limit_per_second", per_second)?,
        burst: at_least_one("http.rate_limit_burst", burst)?,
    }))
}

pub(super) fn trusted_proxies(http: &Http) -> anyhow::Result<Vec<IpNet>> {
    let network = |text: &String| {
        let network = text.parse::<IpNet>().ok();
        let network = network.or_else(|| Some(IpNet::from(text.parse::<IpAddr>().ok()?)));
        network.with_context(|| {
            format!(
                "http.trusted_proxies has `{text}`; write an address or a network, such as `10.0.0.0/8`"
            )
        })
    };
    http.trusted_proxies.iter().map(network).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limit(per_second: Option<u32>, burst: Option<u32>) -> String {
        let http = Http {
            rate_limit_per_second: per_second,
            rate_limit_burst: burst,
            ..Http::default()
        };
        match rate_limit(&http) {
            Ok(None) => "none".to_owned(),
            Ok(Some(limit)) => format!("{} {}", limit.per_second, limit.burst),
            Err(error) => format!("{error:#}"),
        }
    }

    #[test]
    fn a_limit_has_a_burst_that_lets_a_build_through() {
        assert_eq!(limit(None, None), "none");
        assert_eq!(limit(Some(20), None), "20 1000");
        assert_eq!(limit(Some(500), None), "500 5000");
        assert_eq!(limit(Some(20), Some(5)), "20 5");
        assert!(limit(None, Some(5)).contains("http.rate_limit_per_second"));
        assert!(limit(Some(0), None).contains("leave it out"));
    }

    #[test]
    fn proxies_are_addresses_or_networks() {
        let proxies = |texts: &[&str]| {
            let http = Http {
                trusted_proxies: texts.iter().map(|&text| text.to_owned()).collect(),
                ..Http::default()
            };
            trusted_proxies(&http)
        };
        let good = proxies(&["10.0.0.0/8", "192.0.2.1", "fd00::/8"]).expect("good");
        assert_eq!(good.len(), 3);
        let wrong = proxies(&["balancer"]).expect_err("no address");
        assert!(wrong.to_string().contains("`balancer`"));
    }
}
