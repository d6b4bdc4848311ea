//! Session persistence of a rule.

use kinds::gateway::{HttpRouteMatch, PathMatchType, SessionPersistence, SessionPersistenceType};
use kinds::{FieldPath, ObjectId};
use xds_api::envoy::config::route::v3::Route;
use xxhash_rust::xxh3::xxh3_64;

use super::filters::Refused;
use crate::render::filters::session::{self, SESSION};

/// A session as a rule asks for it.
pub(super) struct Session<'a> {
    written: &'a SessionPersistence,
    name: String,
}

impl<'a> Session<'a> {
    pub(super) fn of(
        route: &ObjectId,
        rule: (usize, Option<&str>),
        written: Option<&'a SessionPersistence>,
    ) -> Option<Self> {
        let written = written?;
        let rule = rule.1.map_or_else(|| rule.0.to_string(), ToOwned::to_owned);
        let identity = format!("{}/{}/{}/{rule}", route.kind.name(), route.namespace, route.name);
        let name = format!("session-{:016x}", xxh3_64(identity.as_bytes()));
        Some(Self { written, name })
    }

    pub(super) fn apply(&self, path: &str, envoy: &mut Route) {
        let order = session::order(self.written, &self.name, path);
        envoy.typed_per_filter_config.insert(SESSION.to_owned(), order);
    }
}

/// Where the cookie of a match is sent back: below its path, if it is one.
pub(super) fn cookie_path(written: &HttpRouteMatch) -> &str {
    match written.path.kind {
        PathMatchType::Exact | PathMatchType::PathPrefix => &written.path.value,
        PathMatchType::RegularExpression => "/",
    }
}

/// What Envoy cannot keep of a session: it would last longer than its author wants.
pub(super) fn problem(written: Option<&SessionPersistence>, rule: &FieldPath) -> Option<Refused> {
    let written = written?;
    let refused = |field, message: &str| {
        Some(Refused {
            condition: "Accepted",
            reason: "UnsupportedValue",
            message: message.to_owned(),
            path: rule.field("sessionPersistence").field(field),
        })
    };
    if written.idle_timeout.is_some() {
        return refused(
            "idleTimeout",
            "sessions do not end by being idle: use absoluteTimeout with a Permanent cookie",
        );
    }
    if written.kind == SessionPersistenceType::Header && written.absolute_timeout.is_some() {
        return refused("absoluteTimeout", "a session in a header has no end: use a Permanent cookie");
    }
    None
}
