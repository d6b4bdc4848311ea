//! SecurityPolicy: what a policy, or the merge of two, asks of the routes that it guards.
//!
//! *Invariant*: it never fails open. A policy of which any part cannot be had has problems, and a route that it guards
//! answers 500.

mod api_keys;
mod authorization;
mod basic_auth;
mod cors;
mod csrf;
mod ext_auth;
mod jwt;
mod oidc;

use kinds::envoy_gateway::SecurityPolicySpec;
use kinds::{FieldPath, ObjectId};
use xds_api::google::protobuf::Any;

use super::Problem;
use super::extension::{Upstream, Written};
use super::guard::Credentials;
use crate::engine::{Outcome, Product, UnitId, View};
use crate::names::{Chain, GuardId, SecretId};
use crate::render::filters::{CORS, csrf::CSRF, guards, rbac};

/// The content of a policy with what belongs to it.
pub(super) type Policy<'a> = Written<'a, SecurityPolicySpec>;

#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Security {
    /// Not empty: the routes answer 500.
    pub problems: Vec<Problem>,
    /// Orders for installed filters, by their names.
    pub orders: Vec<(&'static str, Any)>,
    pub cors: bool,
    pub guard: Option<(GuardId, Credentials)>,
    pub upstreams: Vec<Upstream>,
    pub secrets: Vec<SecretId>,
}

pub(crate) fn evaluate(unit: &UnitId, chain: &Chain, view: &View<'_>) -> Outcome {
    let UnitId::Security(gateway, _) = unit else { return Outcome::default() };
    let security = render(chain, view);
    let mut demands = Vec::new();
    if security.problems.is_empty() {
        demands.extend(security.guard.iter().map(|(id, _)| UnitId::Guard(gateway.clone(), *id)));
        demands.extend(security.upstreams.iter().map(|upstream| upstream.unit(gateway)));
        demands.extend(security.secrets.iter().map(|id| UnitId::Secret(gateway.clone(), id.clone())));
    }
    Outcome { product: Product::Security(security.into()), demands, diagnostics: Vec::new() }
}

/// What is wrong with a policy by itself.
pub(crate) fn problems(policy: &ObjectId, view: &View<'_>) -> Vec<Problem> {
    render(&Chain(vec![policy.clone()]), view).problems
}

fn render(chain: &Chain, view: &View<'_>) -> Security {
    let mut security = Security::default();
    let Some(policy) = Policy::read(chain, view) else {
        security.problems.push(Problem::wrong(FieldPath::spec(), "the policies cannot be merged"));
        return security;
    };
    let mut credentials = Credentials::default();
    if let Some(written) = &policy.spec.cors {
        security.orders.push((CORS, cors::order(written)));
        security.cors = true;
    }
    if let Some(written) = &policy.spec.csrf {
        security.orders.push((CSRF, csrf::order(written)));
    }
    credentials.ext_auth = security.take(&policy, policy.spec.ext_auth.as_ref(), ext_auth::filter);
    credentials.api_keys = security.take(&policy, policy.spec.api_key_auth.as_ref(), api_keys::keys);
    credentials.basic = security.take(&policy, policy.spec.basic_auth.as_ref(), basic_auth::passwords);
    credentials.oauth2 = security.take(&policy, policy.spec.oidc.as_ref(), oidc::filter);
    credentials.jwt = security.take(&policy, policy.spec.jwt.as_ref(), jwt::filter);
    security.guard = credentials.id().map(|id| (id, credentials));
    security.orders.extend(security.guard.iter().map(|(id, _)| guards::order(*id)));

    let mut rules = Vec::new();
    if let Some((id, _)) = &security.guard {
        let refused = rbac::Verdict { name: "guard-missing".to_owned(), allow: false };
        rules.push((crate::render::matcher::not(guards::passed(*id)), refused));
    }
    let mut otherwise = rbac::Verdict { name: "default".to_owned(), allow: true };
    if let Some(written) = &policy.spec.authorization {
        otherwise.allow = authorization::allows_by_default(written);
        match authorization::rules(&policy, written) {
            Ok(written) => rules.extend(written),
            Err(problem) => security.problems.push(problem),
        }
    }
    if !rules.is_empty() || !otherwise.allow {
        security.orders.push(rbac::order(rules, &otherwise));
    }
    security
}

impl Security {
    fn take<'a, W, R>(
        &mut self,
        policy: &Policy<'a>,
        written: Option<&W>,
        make: fn(&Policy<'a>, &W, &mut Self) -> Result<R, Problem>,
    ) -> Option<R> {
        match make(policy, written?, self) {
            Ok(made) => Some(made),
            Err(problem) => {
                self.problems.push(problem);
                None
            }
        }
    }
}
