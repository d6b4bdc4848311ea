//! Sessions: requests of a client that return to the server that took the first.
//!
//! The filter is installed without a kind of session and does nothing; a route says which cookie or header names the server.

use kinds::gateway::{CookieLifetimeType, SessionPersistence, SessionPersistenceType};
use xds_api::any;
use xds_api::envoy::config::core::v3::TypedExtensionConfig;
use xds_api::envoy::extensions::filters::http::stateful_session::v3::stateful_session_per_route::Override;
use xds_api::envoy::extensions::filters::http::stateful_session::v3::{StatefulSession, StatefulSessionPerRoute};
use xds_api::envoy::extensions::http::stateful_session::cookie::v3::CookieBasedSessionState;
use xds_api::envoy::extensions::http::stateful_session::header::v3::HeaderBasedSessionState;
use xds_api::envoy::r#type::http::v3::Cookie;
use xds_api::google::protobuf::Any;

use crate::render::build::duration;

pub(crate) const SESSION: &str = "chancery.session";

pub(super) fn install() -> (&'static str, Any) {
    (SESSION, any(&StatefulSession::default()))
}

/// The order of a route. `name` stands for the one that the user did not give; a cookie is sent back below `path`.
pub(crate) fn order(written: &SessionPersistence, name: &str, path: &str) -> Any {
    let name = written.session_name.as_deref().unwrap_or(name).to_owned();
    let (kind, state) = match written.kind {
        SessionPersistenceType::Cookie => {
            let permanent = written.cookie_config.as_ref().map(|config| config.lifetime_type)
                == Some(CookieLifetimeType::Permanent);
            // Without a time to live the browser forgets the cookie when it ends.
            let ttl = written.absolute_timeout.filter(|_| permanent).map(|timeout| duration(timeout.0));
            let cookie = Cookie { name, ttl, path: path.to_owned(), ..Cookie::default() };
            ("envoy.http.stateful_session.cookie", any(&CookieBasedSessionState { cookie: Some(cookie) }))
        }
        SessionPersistenceType::Header => {
            ("envoy.http.stateful_session.header", any(&HeaderBasedSessionState { name }))
        }
    };
    let state = TypedExtensionConfig { name: kind.to_owned(), typed_config: Some(state) };
    let session = StatefulSession { session_state: Some(state), ..StatefulSession::default() };
    any(&StatefulSessionPerRoute { r#override: Some(Override::StatefulSession(session)) })
}
