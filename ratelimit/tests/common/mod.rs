//! Requests and configurations, written short.

#![allow(dead_code, clippy::unwrap_used, clippy::missing_panics_doc)]

use std::sync::Arc;

use ratelimit::{Options, RateLimiter};
use xds_api::envoy::extensions::common::ratelimit::v3::RateLimitDescriptor;
use xds_api::envoy::extensions::common::ratelimit::v3::rate_limit_descriptor::{Entry, RateLimitOverride};
use xds_api::envoy::service::ratelimit::v3::rate_limit_response::Code;
use xds_api::envoy::service::ratelimit::v3::{RateLimitRequest, RateLimitResponse};
use xds_api::google::protobuf::UInt64Value;
use xds_api::ratelimit::config::ratelimit::v3::RateLimitConfig;

/// A Monday, ten minutes and five seconds past an hour.
pub(crate) const NOW: u64 = 1_795_226_405 - 1_795_226_405 % 3_600 + 605;

pub(crate) fn config(yaml: &str) -> RateLimitConfig {
    let body = xds_api::message_from_yaml("ratelimit.config.ratelimit.v3.RateLimitConfig", yaml).unwrap();
    prost::Message::decode(body).unwrap()
}

/// A limiter with one domain `d` that has these descriptors.
pub(crate) fn limiter(descriptors: &str) -> Arc<RateLimiter> {
    limiter_with(&Options::default(), descriptors)
}

pub(crate) fn limiter_with(options: &Options, descriptors: &str) -> Arc<RateLimiter> {
    let limiter = RateLimiter::new(options);
    assert_eq!(limiter.apply(&[config(&format!("name: d\ndomain: d\ndescriptors:\n{descriptors}"))]), []);
    limiter
}

#[derive(Clone)]
pub(crate) struct Ask(pub(crate) RateLimitDescriptor);

pub(crate) fn ask(entries: &[(&str, &str)]) -> Ask {
    let entries = entries.iter().map(|(key, value)| Entry { key: (*key).into(), value: (*value).into() }).collect();
    Ask(RateLimitDescriptor { entries, ..Default::default() })
}

impl Ask {
    pub(crate) fn hits(mut self, hits: u64) -> Self {
        self.0.hits_addend = Some(UInt64Value { value: hits });
        self
    }

    pub(crate) fn refund(mut self, hits: u64) -> Self {
        self.0.is_negative_hits = true;
        self.hits(hits)
    }

    pub(crate) fn limit(mut self, requests_per_unit: u32, unit: i32) -> Self {
        self.0.limit = Some(RateLimitOverride { requests_per_unit, unit, unit_multiplier: None });
        self
    }

    pub(crate) fn reserve(mut self, source: &str) -> Self {
        self.0.entries.push(Entry { key: ratelimit::RESERVE_KEY.into(), value: source.into() });
        self
    }
}

pub(crate) fn request(asks: &[Ask]) -> RateLimitRequest {
    let descriptors = asks.iter().map(|ask| ask.0.clone()).collect();
    RateLimitRequest { domain: "d".into(), descriptors, hits_addend: 0 }
}

pub(crate) fn call(limiter: &RateLimiter, asks: &[Ask], now: u64) -> RateLimitResponse {
    limiter.decide(&request(asks), now).unwrap()
}

/// The overall verdict, and of each status whether it is over, what remains and when it starts over.
pub(crate) fn brief(response: &RateLimitResponse) -> String {
    let mut text = if response.overall_code() == Code::Ok { "ok" } else { "OVER" }.to_owned();
    for status in &response.statuses {
        let code = if status.code() == Code::Ok { "ok" } else { "OVER" };
        text += &match &status.current_limit {
            Some(limit) => format!(
                " [{code} {}/{} {}s]",
                status.limit_remaining,
                limit.requests_per_unit,
                status.duration_until_reset.unwrap().seconds
            ),
            None => format!(" [{code} {}]", status.limit_remaining),
        };
    }
    text
}

pub(crate) fn answer(limiter: &RateLimiter, asks: &[Ask]) -> String {
    brief(&call(limiter, asks, NOW))
}
