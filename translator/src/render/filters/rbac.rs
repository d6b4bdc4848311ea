//! Who may do what. Inert until a route brings rules.

use xds_api::any;
use xds_api::envoy::config::rbac::v3::{Action, rbac};
use xds_api::envoy::extensions::filters::http::rbac::v3::{Rbac, RbacPerRoute};
use xds_api::google::protobuf::Any;
use xds_api::xds::r#type::matcher::v3::matcher::matcher_list::Predicate;

use crate::render::matcher;

const NAME: &str = "envoy.filters.http.rbac";

pub(super) fn install() -> (&'static str, Any) {
    (NAME, any(&Rbac::default()))
}

/// The first rule whose condition holds decides, and `otherwise` where none does.
pub(crate) fn order(rules: Vec<(Predicate, Verdict)>, otherwise: &Verdict) -> (&'static str, Any) {
    let rules = rules.into_iter().map(|(predicate, verdict)| (predicate, any(&verdict.action())));
    let rbac =
        Rbac { matcher: Some(matcher::first_of(rules.collect(), Some(any(&otherwise.action())))), ..Rbac::default() };
    (NAME, any(&RbacPerRoute { rbac: Some(rbac) }))
}

/// What a rule decides, under the name that shows in statistics.
#[derive(Clone, Debug)]
pub(crate) struct Verdict {
    pub name: String,
    pub allow: bool,
}

impl Verdict {
    fn action(&self) -> Action {
        let action = if self.allow { rbac::Action::Allow } else { rbac::Action::Deny };
        Action { name: self.name.clone(), action: action as i32 }
    }
}
