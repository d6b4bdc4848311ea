//! What can be watched: each kind of the table, in each group under which it may be served.

use kinds::Kind;
use kube::core::{ApiResource, GroupVersionKind};

/// One kind in one group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Feed {
    pub kind: Kind,
    /// 0 is the kind's own group, the others are those it was known under before: where both hold an object of one name,
    /// the lower one is in force.
    rank: u8,
}

/// Groups that every API server has.
const BUILT_IN: [&str; 2] = ["", "discovery.k8s.io"];

impl Feed {
    pub(super) fn all() -> Vec<Self> {
        let mut feeds = Vec::new();
        for info in Kind::TABLE {
            let former = u8::try_from(info.kind.former_groups().count()).unwrap_or(u8::MAX);
            feeds.extend((0..=former).map(|rank| Self { kind: info.kind, rank }));
        }
        feeds
    }

    pub(super) fn of(kind: Kind) -> Self {
        Self { kind, rank: 0 }
    }

    pub(super) fn rank(self) -> u8 {
        self.rank
    }

    pub(super) fn group(self) -> &'static str {
        match self.rank.checked_sub(1) {
            None => self.kind.group(),
            Some(former) => self.kind.former_groups().nth(usize::from(former)).unwrap_or_default(),
        }
    }

    pub(super) fn is_built_in(self) -> bool {
        BUILT_IN.contains(&self.group())
    }

    /// Kinds of which only objects that something refers to are read: there may be many, they may be large, and they are
    /// nobody's business.
    pub(super) fn is_read_on_demand(self) -> bool {
        matches!(self.kind, Kind::Secret | Kind::ConfigMap)
    }

    /// Whether objects of this kind may refer to such objects. Routes do so through other objects only.
    pub(super) fn refers_to_content(self) -> bool {
        let routes = [Kind::HttpRoute, Kind::GrpcRoute, Kind::TlsRoute, Kind::TcpRoute, Kind::UdpRoute];
        !self.is_built_in() && !routes.contains(&self.kind) && self.kind != Kind::ReferenceGrant
    }

    /// Whether part of the status is configuration: the addresses of a pod are.
    pub(super) fn status_is_read(self) -> bool {
        self.kind == Kind::Pod
    }

    /// The name of its definition; none for kinds that need none.
    pub(super) fn definition(self) -> Option<String> {
        (!self.is_built_in()).then(|| format!("{}.{}", self.kind.info().plural, self.group()))
    }

    pub(super) fn resource(self, version: &str) -> ApiResource {
        let gvk = GroupVersionKind::gvk(self.group(), version, self.kind.name());
        ApiResource::from_gvk_with_plural(&gvk, self.kind.info().plural)
    }
}
