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

/// Types of which a client that rejects a response still takes what was good in it.
pub(crate) fn good_parts_taken(kind: ResourceType) -> bool {
    use ResourceType as T;
    matches!(kind, T::Cluster | T::Listener)
}

/// Types whose version, told by a reconnecting SotW client, can be believed. A rate limit service tells the version it
/// was sent last, even one that it rejected.
pub(crate) fn told_version_is_taken(kind: ResourceType) -> bool {
    full_state(kind) && kind != ResourceType::RateLimitConfig
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
    matches!(kind, T::Cluster | T::Endpoints | T::Listener | T::ScopedRoute | T::VirtualHost | T::Runtime)
}

/// Types whose changes wait until the clusters they may name are acknowledged, and so warm.
pub(crate) fn waits_for_clusters(kind: ResourceType) -> bool {
    use ResourceType as T;
    matches!(kind, T::Listener | T::RouteConfiguration | T::ScopedRoute | T::VirtualHost)
}

/// Types that must be in step before a cluster is removed: they may still name it.
pub(crate) const NAMES_CLUSTERS: [ResourceType; 4] =
    [ResourceType::Listener, ResourceType::RouteConfiguration, ResourceType::ScopedRoute, ResourceType::VirtualHost];

/// Types whose resources make a client ask for names of a type.
pub(crate) fn may_name(kind: ResourceType, named: ResourceType) -> bool {
    use ResourceType as T;
    match named {
        T::Endpoints => kind == T::Cluster,
        T::RouteConfiguration => matches!(kind, T::Listener | T::ScopedRoute),
        T::VirtualHost => kind == T::RouteConfiguration,
        T::Secret | T::ExtensionConfig => {
            let carries = matches!(kind, T::Cluster | T::Listener | T::RouteConfiguration | T::VirtualHost);
            carries || kind == T::ExtensionConfig && named == T::Secret
        }
        T::Cluster | T::Listener | T::ScopedRoute | T::Runtime | T::RateLimitConfig => false,
    }
}

/// Types of which a version is told for the names that were asked for; those that name others first.
pub(crate) const NAMED: [ResourceType; 6] = [
    ResourceType::RouteConfiguration,
    ResourceType::VirtualHost,
    ResourceType::ExtensionConfig,
    ResourceType::Endpoints,
    ResourceType::Secret,
    ResourceType::Runtime,
];

/// Types that every Envoy asks for.
pub(crate) const ALWAYS: [ResourceType; 2] = [ResourceType::Cluster, ResourceType::Listener];
