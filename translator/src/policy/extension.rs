//! Services that Envoy itself calls, resolved to the cluster by which it reaches them.

use kinds::envoy_gateway::shared::{ClusterSettings, ExtensionBackends};
use kinds::gateway::BackendRef;
use kinds::{FieldPath, Object, Typed};
use serde::Serialize;
use serde::de::DeserializeOwned;
use smol_str::SmolStr;

use super::{Problem, merge};
use crate::engine::{UnitId, View};
use crate::graph::{Edge, Target, Verdict};
use crate::names::{Authority, Chain, ClusterId, Settings, connected_as};
use kinds::ObjectId;

/// A policy, or a merge of two, as one content that still knows who wrote which reference.
pub(crate) struct Written<'a, T> {
    pub chain: &'a Chain,
    pub spec: T,
    view: &'a View<'a>,
}

impl<'a, T: Typed + Clone + Serialize + DeserializeOwned> Written<'a, T> {
    pub(crate) fn read(chain: &'a Chain, view: &'a View<'a>) -> Option<Self> {
        Some(Self { chain, spec: merge::merged::<T>(chain, view)?, view })
    }

    pub(crate) fn view(&self) -> &'a View<'a> {
        self.view
    }

    /// The reference at a field, and the policy that made it: a merged content holds references of both.
    pub(crate) fn edge(&self, path: &FieldPath, name: &str) -> Option<(&'a Object, &'a Edge)> {
        self.chain.0.iter().find_map(|policy| {
            let edge = self.view.reference(policy, path.as_str())?;
            let named = match &edge.target {
                Target::Object(id) => id.name == name,
                Target::Unsupported { name: written, .. } => written == name,
            };
            Some((self.view.object(policy).filter(|_| named)?.as_ref(), edge))
        })
    }

    /// The object that a field refers to.
    pub(crate) fn object(&self, path: &FieldPath, name: &str) -> Result<&'a ObjectId, Problem> {
        let wrong = |message: String| Err(Problem::wrong(path.clone(), message));
        match self.edge(path, name).map(|(_, edge)| (&edge.target, edge.verdict)) {
            Some((Target::Object(id), Verdict::Allowed)) => Ok(id),
            Some((target, verdict)) => wrong(format!("{target}: {}", verdict.words())),
            None => wrong(format!("{name} is not an object that can stand here")),
        }
    }

    /// The cluster of a service that is named by backends, each with the settings of the policy where there are any.
    pub(crate) fn backends(
        &self,
        written: &ExtensionBackends,
        path: &FieldPath,
        part: &str,
        http2: bool,
    ) -> Result<Option<Upstream>, Problem> {
        let refs: Vec<_> = written.written().collect();
        let Some((field, reference)) = refs.first() else { return Ok(None) };
        if let Some((second, _)) = refs.get(1) {
            let message = "one backend can be asked: put the endpoints of several into one Service or Backend";
            return Err(Problem::unsupported(path.field(second), message));
        }
        let path = path.field(field);
        let Some((policy, _)) = self.edge(&path, &reference.name) else {
            return Err(Problem::wrong(path, format!("{} is not an object that can stand here", reference.name)));
        };
        let backend = BackendRef {
            group: reference.group.clone().unwrap_or_default(),
            kind: reference.kind.clone().unwrap_or_else(|| SmolStr::new_static("Service")),
            name: reference.name.clone(),
            namespace: reference.namespace.clone(),
            port: reference.port,
            weight: 1,
        };
        let cluster = crate::routing::resolve_backend(policy, path.as_str(), &backend, http2, self.view)
            .map_err(|broken| Problem::wrong(path, broken.message))?;
        let settings = written.backend_settings.as_ref().filter(|settings| **settings != ClusterSettings::default());
        let settings = settings.map(|_| Settings { chain: self.chain.clone(), part: part.into() });
        Ok(Some(Upstream::Backend(connected_as(cluster, settings.as_ref()))))
    }
}

/// Whom Envoy calls.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Upstream {
    Backend(ClusterId),
    External(Authority),
}

impl Upstream {
    pub(crate) fn name(&self) -> String {
        match self {
            Self::Backend(cluster) => cluster.to_string(),
            Self::External(authority) => authority.to_string(),
        }
    }

    pub(crate) fn unit(&self, gateway: &ObjectId) -> UnitId {
        match self {
            Self::Backend(cluster) => UnitId::Cluster(gateway.clone(), cluster.clone()),
            Self::External(authority) => UnitId::External(gateway.clone(), authority.clone()),
        }
    }
}

/// The parts of an address that a cluster and a request are made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Address {
    pub authority: Authority,
    pub path: String,
}

impl Address {
    pub(crate) fn parse(uri: &str) -> Option<Self> {
        let (tls, rest) = match uri.strip_prefix("https://") {
            Some(rest) => (true, rest),
            None => (false, uri.strip_prefix("http://")?),
        };
        let (host, path) = rest.find('/').map_or((rest, "/"), |at| rest.split_at(at));
        let (host, port) = match host.rsplit_once(':') {
            Some((name, port)) if !name.is_empty() => (name, port.parse().ok()?),
            _ => (host, if tls { 443 } else { 80 }),
        };
        let plain = host.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-'));
        if host.is_empty() || !plain {
            return None;
        }
        let authority = Authority { host: host.into(), port, tls, http2: false };
        Some(Self { authority, path: path.to_owned() })
    }
}
