//! Where a rule sends its requests: the shares of its backends.

use kinds::gateway::HttpBackendRef;
use kinds::{FieldPath, Object};
use xds_api::envoy::config::route::v3::route::Action;
use xds_api::envoy::config::route::v3::route_action::{ClusterNotFoundResponseCode, ClusterSpecifier, UpgradeConfig};
use xds_api::envoy::config::route::v3::weighted_cluster::ClusterWeight;
use xds_api::envoy::config::route::v3::weighted_cluster::cluster_weight::HostRewriteSpecifier::HostRewriteLiteral;
use xds_api::envoy::config::route::v3::{DirectResponseAction, Route, RouteAction, WeightedCluster};

use super::filters::{Effects, Refused, of_backend};
use super::{backends, fallback};
use crate::ai::Wishes;
use crate::engine::View;
use crate::names::{ClusterId, Settings, UNRESOLVED_CLUSTER, connected_as};
use crate::render::build::{seconds, uint32};
use crate::render::dynamic;

pub(super) fn answer(status: u32) -> Action {
    Action::DirectResponse(DirectResponseAction { status, ..DirectResponseAction::default() })
}

/// The shares of a rule's backends.
pub(super) struct Forward(Vec<Share>);

struct Share {
    /// None for a backend that cannot be resolved: its share is answered 500.
    cluster: Option<ClusterId>,
    weight: u32,
    effects: Effects,
    wishes: Wishes,
    /// Whether the server is the one that the request names.
    by_request: bool,
    /// Whether it is there to take over from the others.
    fallback: bool,
}

impl Share {
    /// Whether nothing is to be done but to send requests there.
    fn is_bare(&self) -> bool {
        self.effects.headers.is_empty() && self.wishes.is_empty()
    }

    fn host(&self) -> Option<&str> {
        self.effects.rewrite.as_ref()?.hostname.as_deref()
    }
}

impl Forward {
    /// With what keeps a backend from getting its share.
    pub(super) fn to(
        route: &Object,
        references: &[HttpBackendRef],
        path: &FieldPath,
        http2: bool,
        view: &View<'_>,
        problems: &mut Vec<Refused>,
    ) -> Self {
        let alone = references.iter().filter(|reference| reference.backend.weight > 0).count() < 2;
        let share = |(index, reference): (usize, &HttpBackendRef)| {
            let path = path.index(index);
            let cluster = backends::resolve(route, path.as_str(), &reference.backend, http2, view);
            let cluster = cluster.map_err(|broken| problems.push(broken.at(&path))).ok();
            let effects = of_backend(route, &reference.filters, &path, alone, http2, view);
            let effects = effects.map_err(|refused| problems.push(refused)).ok();
            // A share that would go without its filters is answered 500.
            let cluster = cluster.filter(|_| effects.is_some());
            let effects = effects.unwrap_or_default();
            let wishes = cluster.as_ref().map(|cluster| Wishes::of(&cluster.backend, view)).unwrap_or_default();
            let backend = cluster.as_ref().and_then(|cluster| view.object(&cluster.backend));
            let by_request = backend.is_some_and(|backend| dynamic::is(backend));
            let fallback = cluster.as_ref().is_some_and(|cluster| fallback::is(&cluster.backend, view));
            Share { cluster, weight: reference.backend.weight, effects, wishes, by_request, fallback }
        };
        Self(references.iter().enumerate().map(share).collect())
    }

    /// Each backend gets the cluster of a policy that says how to connect.
    pub(super) fn connect_as(&mut self, settings: Option<&Settings>) {
        for share in &mut self.0 {
            share.cluster = share.cluster.take().map(|cluster| connected_as(cluster, settings));
        }
    }

    /// Every backend's cluster, those of weight 0 included: they may be given weight at any time.
    pub(super) fn clusters(&self) -> impl Iterator<Item = ClusterId> + '_ {
        let together = self.taking_over();
        let alone = together.is_none();
        let of = move |share: &Share| {
            let own = share.cluster.iter().filter(|_| alone);
            let all = own.chain(&share.wishes.clusters).chain(&share.effects.clusters);
            all.cloned().collect::<Vec<_>>()
        };
        self.0.iter().flat_map(of).chain(together)
    }

    /// The cluster of a rule whose backends take over from each other.
    fn taking_over(&self) -> Option<ClusterId> {
        if !self.0.iter().any(|share| share.fallback) {
            return None;
        }
        let weighted = self.0.iter().filter(|share| share.weight > 0);
        fallback::cluster(weighted.filter_map(|share| Some((share.cluster.as_ref()?, share.weight, share.fallback))))
    }

    /// Where the request names its server and the route another name, that one is looked up.
    pub(super) fn look_up(&self, effects: &Effects, envoy: &mut Route) {
        let Some(share) = self.0.iter().find(|share| share.by_request) else { return };
        let of_rule = effects.rewrite.as_ref().and_then(|rewrite| rewrite.hostname.as_deref());
        let Some(host) = of_rule.or_else(|| share.host()) else { return };
        let (name, order) = dynamic::order(host);
        envoy.typed_per_filter_config.insert(name.to_owned(), order);
    }

    /// What the filters of a backend that stands alone ask of its route.
    pub(super) fn apply_alone(&self, prefix: Option<&str>, action: &mut RouteAction) {
        let mut weighted = self.0.iter().filter(|share| share.weight > 0);
        if let (Some(share), None) = (weighted.next(), weighted.next()) {
            share.effects.apply_to_action(prefix, action);
        }
    }

    pub(super) fn action(&self, edit: impl FnOnce(&mut RouteAction)) -> Action {
        let weighted: Vec<&Share> = self.0.iter().filter(|share| share.weight > 0).collect();
        let Some(first) = weighted.first() else { return answer(500) };
        if weighted.iter().all(|share| share.cluster.is_none()) {
            return answer(500);
        }
        let name = |share: &Share| share.cluster.as_ref().map_or(UNRESOLVED_CLUSTER.to_owned(), ToString::to_string);
        let target = if let Some(together) = self.taking_over() {
            ClusterSpecifier::Cluster(together.to_string())
        } else if weighted.len() == 1 && first.is_bare() {
            ClusterSpecifier::Cluster(name(first))
        } else {
            let clusters = weighted.iter().map(|share| {
                let headers = &share.effects.headers;
                let host = share.host().filter(|_| weighted.len() > 1);
                share.wishes.put_on(ClusterWeight {
                    name: name(share),
                    weight: Some(uint32(share.weight)),
                    request_headers_to_add: headers.request_add.clone(),
                    request_headers_to_remove: headers.request_remove.clone(),
                    response_headers_to_add: headers.response_add.clone(),
                    response_headers_to_remove: headers.response_remove.clone(),
                    host_rewrite_specifier: host.map(|host| HostRewriteLiteral(host.to_owned())),
                    ..ClusterWeight::default()
                })
            });
            ClusterSpecifier::WeightedClusters(WeightedCluster {
                clusters: clusters.collect(),
                ..WeightedCluster::default()
            })
        };
        let mut action = RouteAction {
            cluster_specifier: Some(target),
            cluster_not_found_response_code: ClusterNotFoundResponseCode::InternalServerError as i32,
            // A model may stream for minutes: only the user limits a request as a whole.
            timeout: Some(seconds(0)),
            upgrade_configs: vec![UpgradeConfig { upgrade_type: "websocket".to_owned(), ..UpgradeConfig::default() }],
            ..RouteAction::default()
        };
        edit(&mut action);
        Action::Route(action)
    }
}
