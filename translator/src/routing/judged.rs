//! What a route's rules come to at whichever listener: where requests go, what filters do, and what is wrong with them.
//!
//! Invariant: a rule is judged here alone. What is rendered and what its author is told come from the same judgement.

use kinds::gateway::{
    GrpcRouteSpec, HttpBackendRef, HttpRouteFilter, HttpRouteSpec, L4RouteRule, SessionPersistence, TcpRouteSpec,
    TlsRouteSpec, UdpRouteSpec,
};
use kinds::{FieldPath, Kind, Object};

use super::filters::{Effects, Refused};
use super::forward::Forward;
use super::{backends, fallback, patterns, session};
use crate::engine::View;

#[derive(Default)]
pub(crate) struct Judged {
    /// Of routes of layer 7, in the order in which they are written.
    pub(super) rules: Vec<JudgedRule>,
    /// What keeps rules from working, first things first.
    pub(crate) problems: Vec<Refused>,
}

pub(super) struct JudgedRule {
    /// None where a filter cannot be had.
    pub effects: Option<Effects>,
    pub forward: Forward,
    /// Whether the rule answers 500 for another reason than its filters.
    pub refused: bool,
}

pub(crate) fn judge(route: &Object, view: &View<'_>) -> Judged {
    let mut judge = Judge { route, view, rules: Vec::new(), refused: Vec::new(), broken: Vec::new() };
    match route.id.kind {
        Kind::HttpRoute => judge.http(),
        Kind::GrpcRoute => judge.grpc(),
        Kind::TlsRoute => judge.l4(route.spec::<TlsRouteSpec>().map(|spec| spec.rules.as_slice())),
        Kind::TcpRoute => judge.l4(route.spec::<TcpRouteSpec>().map(|spec| spec.rules.as_slice())),
        Kind::UdpRoute => judge.l4(route.spec::<UdpRouteSpec>().map(|spec| spec.rules.as_slice())),
        _ => {}
    }
    let Judge { rules, refused: mut problems, broken, .. } = judge;
    problems.extend(broken);
    Judged { rules, problems }
}

struct Judge<'a> {
    route: &'a Object,
    view: &'a View<'a>,
    rules: Vec<JudgedRule>,
    /// What is wrong with a rule as a whole.
    refused: Vec<Refused>,
    /// What is wrong with its filters and backends.
    broken: Vec<Refused>,
}

/// What the rules of HTTPRoutes and GRPCRoutes have in common.
struct Rule<'a> {
    filters: &'a [HttpRouteFilter],
    backends: &'a [HttpBackendRef],
    session: Option<&'a SessionPersistence>,
    http2: bool,
}

impl Judge<'_> {
    fn http(&mut self) {
        let Some(spec) = self.route.spec::<HttpRouteSpec>() else { return };
        for (index, rule) in spec.rules.iter().enumerate() {
            let path = rule_path(index);
            let session = rule.session_persistence.as_ref();
            self.rule(&path, &Rule { filters: &rule.filters, backends: &rule.backend_refs, session, http2: false });
            self.refused.extend(patterns::http(&rule.matches, &path));
        }
    }

    fn grpc(&mut self) {
        let Some(spec) = self.route.spec::<GrpcRouteSpec>() else { return };
        for (index, rule) in spec.rules.iter().enumerate() {
            let path = rule_path(index);
            let session = rule.session_persistence.as_ref();
            self.rule(&path, &Rule { filters: &rule.filters, backends: &rule.backend_refs, session, http2: true });
            self.refused.extend(patterns::grpc(&rule.matches, &path));
        }
    }

    fn l4(&mut self, rules: Option<&[L4RouteRule]>) {
        for (index, rule) in rules.unwrap_or_default().iter().enumerate() {
            let path = rule_path(index).field("backendRefs");
            let references = rule.backend_refs.iter().map(|reference| (reference, [].as_slice()));
            self.refused.extend(fallback::problem(self.route, references, &path, self.view));
            for (index, reference) in rule.backend_refs.iter().enumerate() {
                let path = path.index(index);
                let resolved = backends::resolve(self.route, path.as_str(), reference, false, self.view);
                self.broken.extend(resolved.err().map(|broken| broken.at(&path)));
            }
        }
    }

    fn rule(&mut self, path: &FieldPath, rule: &Rule<'_>) {
        let &Rule { filters, backends, session, http2 } = rule;
        let Self { route, view, .. } = *self;
        let whole = self.refused.len();
        self.refused.extend(session::problem(session, path));
        let backend_refs = path.field("backendRefs");
        let references = backends.iter().map(|reference| (&reference.backend, reference.filters.as_slice()));
        self.refused.extend(fallback::problem(route, references, &backend_refs, view));
        let refused = self.refused.len() > whole;
        let effects = Effects::gather(route, filters, path, http2, view);
        let effects = effects.map_err(|refused| self.broken.push(refused)).ok();
        for (index, filter) in filters.iter().enumerate() {
            if let Some(mirror) = &filter.request_mirror {
                let path = path.field("filters").index(index).field("requestMirror").field("backendRef");
                let resolved = backends::resolve(route, path.as_str(), &mirror.backend_ref, http2, view);
                self.broken.extend(resolved.err().map(|broken| broken.at(&path)));
            }
        }
        let forward = Forward::to(route, backends, &backend_refs, http2, view, &mut self.broken);
        self.rules.push(JudgedRule { effects, forward, refused });
    }
}

fn rule_path(index: usize) -> FieldPath {
    FieldPath::from("spec.rules").index(index)
}
