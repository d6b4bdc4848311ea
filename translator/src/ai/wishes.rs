//! What AI backends want of routes of any kind that lead to them.

use std::collections::BTreeMap;

use kinds::{Kind, ObjectId};
use xds_api::envoy::config::core::v3::HeaderValueOption;
use xds_api::envoy::config::route::v3::weighted_cluster::ClusterWeight;
use xds_api::envoy::config::route::v3::weighted_cluster::cluster_weight::HostRewriteSpecifier;
use xds_api::google::protobuf::Any;

use super::attached::edits_header;
use super::cluster::{Server, server, unedited};
use super::{kgateway, pool};
use crate::PickerBodies;
use crate::engine::View;
use crate::names::ClusterId;
use crate::routing::Broken;

#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Wishes {
    /// Orders for installed filters.
    orders: BTreeMap<String, Any>,
    headers: Vec<HeaderValueOption>,
    /// Headers of answers that concern no client.
    hidden: Vec<String>,
    host: Option<String>,
    /// Clusters beside the backend's own.
    pub clusters: Vec<ClusterId>,
}

impl Wishes {
    pub(crate) fn of(backend: &ObjectId, view: &View<'_>) -> Self {
        let mut wishes = Self::default();
        match backend.kind {
            Kind::InferencePool => {
                wishes.orders.extend([unedited()]);
                if pool::by_load(backend, view) {
                    wishes.hidden.push(pool::LOAD_REPORT.to_owned());
                }
                if let Ok(Some((picker, failure_mode))) = pool::picker(backend, view) {
                    let bodies = pool::bodies(backend, view);
                    wishes.orders.insert(pool::PICKER.to_owned(), pool::picker_orders(&picker, failure_mode, bodies));
                    if bodies == PickerBodies::Whole {
                        let (place, orders) = pool::gather_orders();
                        wishes.orders.insert(place.to_owned(), orders);
                    }
                    wishes.clusters.push(picker);
                }
            }
            Kind::KgatewayBackend => {
                let edits = kgateway::edits(backend, view).ok().flatten();
                wishes.headers.extend(edits.map(|edits| edits_header(&edits.encode(0))));
                if let Some(Server::Hosts(hosts)) = server(backend, view) {
                    wishes.host = hosts.into_iter().next().map(|(host, _)| host);
                }
            }
            _ => {}
        }
        wishes
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.orders.is_empty() && self.headers.is_empty() && self.hidden.is_empty() && self.host.is_none()
    }

    /// Whether it says what is to be changed about requests.
    pub(super) fn edits(&self) -> bool {
        !self.headers.is_empty()
    }

    /// What a share of a rule by model wants beside its edits.
    pub(super) fn put_on_edited(&self, share: ClusterWeight) -> ClusterWeight {
        let mut share = self.put_on(share);
        share.typed_per_filter_config.remove(&unedited().0);
        share
    }

    pub(crate) fn put_on(&self, mut share: ClusterWeight) -> ClusterWeight {
        share.typed_per_filter_config.extend(self.orders.clone());
        share.request_headers_to_add.extend(self.headers.iter().cloned());
        share.response_headers_to_remove.extend(self.hidden.iter().cloned());
        if let Some(host) = &self.host {
            share.host_rewrite_specifier = Some(HostRewriteSpecifier::HostRewriteLiteral(host.clone()));
        }
        share
    }
}

/// Whether a backend can be had at all.
pub(crate) fn usable(backend: &ObjectId, view: &View<'_>) -> Result<(), Broken> {
    match backend.kind {
        Kind::InferencePool => pool::picker(backend, view).map(|_| ()),
        Kind::KgatewayBackend => kgateway::edits(backend, view).map(|_| ()),
        _ => Ok(()),
    }
}
