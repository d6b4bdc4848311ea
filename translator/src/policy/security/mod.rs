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
pub(crate) mod network;
mod oidc;

use kinds::ObjectId;
use kinds::envoy_gateway::SecurityPolicySpec;
use xds_api::google::protobuf::Any;

use network::Connections;

use super::{Problem, merge};
pub(super) use authorization::cidr;

use super::extension::{Upstream, Written};
use super::guard::{Check, Keys};
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
    /// In which callers show their keys, where nothing is said about what the backend sees of them.
    pub key_headers: Vec<String>,
    pub guards: Vec<(GuardId, Check)>,
    pub upstreams: Vec<Upstream>,
    pub secrets: Vec<SecretId>,
    /// For routes of connections.
    pub connections: Connections,
}

pub(crate) fn evaluate(unit: &UnitId, chain: &Chain, view: &View<'_>) -> Outcome {
    let UnitId::Security(gateway, _) = unit else { return Outcome::default() };
    let security = render(chain, view);
    let mut demands = Vec::new();
    if security.problems.is_empty() {
        demands.extend(security.guards.iter().map(|(id, _)| UnitId::Guard(gateway.clone(), *id)));
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
        security.problems.push(merge::problem(chain, view));
        return security;
    };
    security.connections = Connections::of(&policy.spec);
    if let Some(written) = &policy.spec.cors {
        security.orders.push((CORS, cors::order(written)));
        security.cors = true;
    }
    if let Some(written) = &policy.spec.csrf {
        security.orders.push((CSRF, csrf::order(written)));
    }
    if let Some(filter) = security.take(&policy, policy.spec.ext_auth.as_ref(), ext_auth::filter) {
        security.guard(Check::ExtAuth(Box::new(filter)));
    }
    let keys = Keys {
        api_keys: security.take(&policy, policy.spec.api_key_auth.as_ref(), api_keys::keys),
        passwords: security.take(&policy, policy.spec.basic_auth.as_ref(), basic_auth::passwords),
    };
    if keys != Keys::default() {
        security.guard(Check::Keys(keys));
    }
    if let Some(filter) = security.take(&policy, policy.spec.oidc.as_ref(), oidc::filter) {
        security.guard(Check::Login(Box::new(filter)));
    }
    if let Some(filter) = security.take(&policy, policy.spec.jwt.as_ref(), jwt::filter) {
        security.guard(Check::Tokens(Box::new(filter)));
    }

    let missing = |guard: GuardId| {
        let refused = rbac::Verdict { name: "guard-missing".to_owned(), allow: false };
        (crate::render::matcher::not(guards::met(guard)), refused)
    };
    let mut rules: Vec<_> = security.guards.iter().map(|(id, _)| missing(*id)).collect();
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
    fn guard(&mut self, check: Check) {
        let id = check.id();
        self.orders.push(guards::order(id));
        self.guards.push((id, check));
    }

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
