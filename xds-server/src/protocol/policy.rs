//! What differs between types: the tables of the protocol.

use xds_api::ResourceType;

/// Types of which a request without names means everything.
pub(crate) fn legacy_wildcard(kind: ResourceType) -> bool {
    use ResourceType as T;
    matches!(kind, T::Cluster | T::Listener | T::ScopedRoute | T::VirtualHost | T::Runtime | T::RateLimitConfig)
}

/// Types whose SotW response is always the whole state: what it leaves out is deleted.
pub(crate) fn full_state(kind: ResourceType) -> bool {
    use ResourceType as T;
    matches!(kind, T::Cluster | T::Listener | T::ScopedRoute | T::RateLimitConfig)
}

/// Types whose removals are sent. The others end with their parents: a client that waits for a route table, a secret or
/// an extension does not survive its removal, and one without its endpoints keeps those it had.
pub(crate) fn sends_removals(kind: ResourceType) -> bool {
    use ResourceType as T;
    matches!(kind, T::Cluster | T::Listener | T::ScopedRoute | T::VirtualHost | T::Runtime | T::RateLimitConfig)
}

/// Types for which a name that does not exist is answered at once, so that nobody waits for it.
pub(crate) fn answers_missing(kind: ResourceType) -> bool {
    use ResourceType as T;
    matches!(kind, T::Cluster | T::Endpoints | T::Listener | T::ScopedRoute | T::VirtualHost)
}

/// Types whose changes wait until the clusters they may name are acknowledged, and so warm.
pub(crate) fn waits_for_clusters(kind: ResourceType) -> bool {
    use ResourceType as T;
    matches!(kind, T::Listener | T::RouteConfiguration | T::ScopedRoute | T::VirtualHost)
}

/// Types that must be in step before a cluster is removed: they may still name it.
pub(crate) const NAMES_CLUSTERS: [ResourceType; 4] =
    [ResourceType::Listener, ResourceType::RouteConfiguration, ResourceType::ScopedRoute, ResourceType::VirtualHost];
