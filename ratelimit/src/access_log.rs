//! Settlement by Envoy's gRPC access log: each entry names the reservation its request was given, and carries the
//! cost among its dynamic metadata. Entries come in batches, so a settlement costs no call of its own.
//!
//! What an entry says about a cost:
//! - a number at the place the check named: that is the cost;
//! - none, and the response was an error: nothing was spent;
//! - none otherwise, as when a client hung up before the usage came or the model was too slow: unknown, and the
//!   reservation stays spent.

use xds_api::envoy::data::accesslog::v3::{AccessLogType, HttpAccessLogEntry};
use xds_api::envoy::service::accesslog::v3::StreamAccessLogsMessage;
use xds_api::envoy::service::accesslog::v3::stream_access_logs_message::LogEntries;
use xds_api::google::protobuf::{Struct, value};

use crate::decide::METADATA_PREFIX;
use crate::limiter::{Cost, RateLimiter};
use crate::reservations::ReservationId;
use crate::unit::Seconds;

/// Where Envoy puts the dynamic metadata of a rate limit response.
const FILTER_NAMESPACE: &str = "envoy.filters.http.ratelimit";

/// Timeouts: the model may have worked, and a client could bring them about.
const TOO_SLOW: [u32; 2] = [408, 504];

impl RateLimiter {
    /// Settles what the entries of a message name. How many reservations that were.
    pub fn settle_logged(&self, message: &StreamAccessLogsMessage, now: Seconds) -> usize {
        let Some(LogEntries::HttpLogs(entries)) = &message.log_entries else { return 0 };
        entries.log_entry.iter().map(|entry| self.settle_entry(entry, now)).sum()
    }

    fn settle_entry(&self, entry: &HttpAccessLogEntry, now: Seconds) -> usize {
        let Some(common) = &entry.common_properties else { return 0 };
        let done = matches!(common.access_log_type(), AccessLogType::NotSet | AccessLogType::DownstreamEnd);
        let Some(metadata) = common.metadata.as_ref().filter(|_| done) else { return 0 };
        let Some(answers) = metadata.filter_metadata.get(FILTER_NAMESPACE) else { return 0 };
        let status = entry.response.as_ref().and_then(|response| response.response_code).map_or(0, |code| code.value);
        let cost = |source: &str| {
            let place = source.split_once(':').and_then(|(namespace, key)| {
                metadata.filter_metadata.get(namespace).and_then(|values| number(values, key))
            });
            match place {
                Some(cost) => Cost::Is(cost),
                None if status >= 400 && !TOO_SLOW.contains(&status) => Cost::Nothing,
                None => Cost::Unknown,
            }
        };
        let ids = answers.fields.keys().filter_map(|name| name.strip_prefix(METADATA_PREFIX)?.parse().ok());
        ids.filter(|id: &ReservationId| self.settle(*id, now, cost)).count()
    }
}

/// A cost from metadata, where it may also stand as text. Less than nothing is nothing.
fn number(values: &Struct, key: &str) -> Option<u64> {
    let number = match values.fields.get(key)?.kind.as_ref()? {
        value::Kind::NumberValue(number) => *number,
        value::Kind::StringValue(text) => text.parse().ok()?,
        _ => return None,
    };
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturates")]
    number.is_finite().then(|| number.round().max(0.0) as u64)
}
