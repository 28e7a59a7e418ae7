//! How often one client may ask: a bucket for each token, and for each address that shows none. In memory, for this node alone.

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use cratekeeper_domain::TokenId;
use governor::clock::{Clock, DefaultClock};
use governor::middleware::NoOpMiddleware;
use governor::state::keyed::DashMapStateStore;
use governor::{Quota, RateLimiter};
use http::HeaderMap;

use super::body::Incoming;
use super::caller::known_token;
use super::client_address::ClientAddress;
use super::error::ApiError;
use super::limits::{RATE_LIMIT_KEYS_MAX, RATE_LIMIT_PAUSE_SECONDS_MAX, RATE_LIMIT_SWEEP_REQUESTS};
use crate::app::{App, RateLimitSettings};

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Client {
    Token(TokenId),
    Address(IpAddr),
    /// Everybody without a token who comes while there are too many to tell apart.
    Crowd,
}

/// The buckets of this node.
pub(crate) struct RateLimit<C: Clock = DefaultClock> {
    buckets: RateLimiter<Client, DashMapStateStore<Client>, C, NoOpMiddleware<C::Instant>>,
    settings: RateLimitSettings,
    requests: AtomicU64,
    crowded: AtomicBool,
}

impl RateLimit {
    pub(crate) fn new(settings: RateLimitSettings) -> RateLimit {
        RateLimit::with_clock(settings, DefaultClock::default())
    }
}

impl<C: Clock> RateLimit<C> {
    fn with_clock(settings: RateLimitSettings, clock: C) -> RateLimit<C> {
        let quota = Quota::per_second(settings.per_second).allow_burst(settings.burst);
        RateLimit {
            buckets: RateLimiter::dashmap_with_clock(quota, clock),
            settings,
            requests: AtomicU64::new(0),
            crowded: AtomicBool::new(false),
        }
    }

    /// Takes one request from the client's bucket, if there is one left.
    fn allows(&self, client: &Client) -> bool {
        let requests = self.requests.fetch_add(1, Ordering::Relaxed);
        if requests.is_multiple_of(RATE_LIMIT_SWEEP_REQUESTS) {
            self.sweep();
        }
        let crowded = self.crowded.load(Ordering::Relaxed);
        let client = match client {
            Client::Address(_) if crowded => &Client::Crowd,
            client => client,
        };
        self.buckets.check_key(client).is_ok()
    }

    /// Forgets the buckets that are full again, so that what is remembered is bounded by what was asked lately.
    fn sweep(&self) {
        self.buckets.retain_recent();
        self.buckets.shrink_to_fit();
        let crowded = self.buckets.len() >= RATE_LIMIT_KEYS_MAX;
        self.crowded.store(crowded, Ordering::Relaxed);
    }

    fn refusal(&self, client: &Client) -> ApiError {
        let who = match client {
            Client::Token(_) => "this token".to_owned(),
            Client::Address(address) => format!("the address {address}"),
            Client::Crowd => "clients without a token".to_owned(),
        };
        let RateLimitSettings { per_second, burst } = self.settings;
        let pause = pause_seconds(per_second, burst);
        ApiError::too_many(
            format!(
                "too many requests by {who}: {per_second} a second are allowed here, and {burst} at once after a pause; try again in {pause} seconds, and ask whoever runs the registry if that is too few"
            ),
            pause,
        )
    }
}

/// Until the bucket is full again, but no longer than cargo is willing to wait: it tries an index file or a download four times
/// only, so coming back for a single request's worth of room would make a large build fail.
fn pause_seconds(per_second: NonZeroU32, burst: NonZeroU32) -> u32 {
    burst
        .get()
        .div_ceil(per_second.get())
        .clamp(1, RATE_LIMIT_PAUSE_SECONDS_MAX)
}

/// Refuses with 429 what is over the limit, before anything else is done about it.
pub(crate) async fn limited(
    State((app, limit)): State<(Arc<App>, Arc<RateLimit>)>,
    request: Request,
    next: Next,
) -> Response {
    let address = request.extensions().get::<ClientAddress>().copied();
    let client = client(&app, request.headers(), address);
    if limit.allows(&client) {
        return next.run(request).await;
    }
    let kind = match client {
        Client::Token(_) => "token",
        Client::Address(_) | Client::Crowd => "address",
    };
    metrics::counter!("cratekeeper_rate_limited_requests_total", "client" => kind).increment(1);
    // cargo reads no answer before it has sent its whole upload.
    let (parts, body) = request.into_parts();
    let incoming = Incoming::new(&parts.headers, body, app.settings.body_idle_timeout);
    incoming.drain().await;
    limit.refusal(&client).into_response()
}

/// A token counts only if it is in force here: made-up ones must not each have a bucket.
fn client(app: &App, headers: &HeaderMap, address: Option<ClientAddress>) -> Client {
    match (known_token(app, headers), address) {
        (Some(token), _) => Client::Token(token),
        (None, Some(address)) => Client::Address(address.network()),
        (None, None) => Client::Crowd,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use governor::clock::FakeRelativeClock;

    use super::*;

    fn number(number: u32) -> NonZeroU32 {
        NonZeroU32::new(number).expect("more than nothing")
    }

    fn limit(per_second: u32, burst: u32) -> (RateLimit<FakeRelativeClock>, FakeRelativeClock) {
        let clock = FakeRelativeClock::default();
        let settings = RateLimitSettings {
            per_second: number(per_second),
            burst: number(burst),
        };
        (RateLimit::with_clock(settings, clock.clone()), clock)
    }

    fn address(number: u32) -> Client {
        Client::Address(IpAddr::V4(number.into()))
    }

    #[test]
    fn a_bucket_holds_a_burst_and_fills_by_the_second() {
        let (limit, clock) = limit(2, 5);
        let taken = |client: &Client| (0..10).filter(|_| limit.allows(client)).count();
        assert_eq!(taken(&address(1)), 5);
        assert_eq!(taken(&address(2)), 5);
        clock.advance(Duration::from_secs(1));
        assert_eq!(taken(&address(1)), 2);
    }

    #[test]
    fn idle_clients_are_forgotten() {
        let (limit, clock) = limit(10, 10);
        for number in 0..3000 {
            assert!(limit.allows(&address(number)));
        }
        assert!(limit.buckets.len() >= 3000);
        clock.advance(Duration::from_secs(1));
        limit.sweep();
        assert_eq!(limit.buckets.len(), 0);
    }

    #[test]
    fn too_many_clients_to_tell_apart_share_a_bucket_and_tokens_do_not() {
        let (limit, clock) = limit(1, 1);
        for number in 0..u32::try_from(RATE_LIMIT_KEYS_MAX).expect("it fits") {
            limit.allows(&address(number));
        }
        limit.sweep();
        assert!(limit.allows(&address(1_000_001)));
        assert!(!limit.allows(&address(1_000_002)));
        assert!(limit.allows(&Client::Token(TokenId::from_random([7; 8]))));
        clock.advance(Duration::from_secs(2));
        limit.sweep();
        assert!(limit.allows(&address(1_000_003)));
        assert!(limit.allows(&address(1_000_004)));
    }

    #[test]
    fn the_pause_lets_a_build_go_on_and_is_one_that_cargo_obeys() {
        for (per_second, burst, seconds) in
            [(100, 1000, 10), (100, 250, 3), (50, 10, 1), (1, 1000, 10)]
        {
            assert_eq!(pause_seconds(number(per_second), number(burst)), seconds);
        }
    }
}
