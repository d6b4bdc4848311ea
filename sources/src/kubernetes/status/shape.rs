//! What a status looks like: which parts a kind has, whose they are, and when two say the same.

use kinds::Kind;
use serde_json::{Map, Value};

/// How the parts of a status are shared with other controllers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// One controller's, but for conditions of types that others have added; the parts that are ours to write.
    Own(&'static [&'static str]),
    /// A list with an entry for each parent or ancestor, signed by the controller that wrote it; the most there can be.
    Signed(&'static str, usize),
}

/// None for kinds whose status says nothing, or is another controller's.
pub(super) fn of(kind: Kind) -> Option<Shape> {
    Some(match kind {
        Kind::GatewayClass => Shape::Own(&["conditions", "supportedFeatures"]),
        Kind::Gateway => Shape::Own(&["conditions", "addresses", "listeners", "attachedListenerSets"]),
        Kind::ListenerSet => Shape::Own(&["conditions", "listeners"]),
        Kind::HttpRoute | Kind::GrpcRoute | Kind::TlsRoute | Kind::TcpRoute | Kind::UdpRoute | Kind::InferencePool => {
            Shape::Signed("parents", 32)
        }
        Kind::BackendTlsPolicy
        | Kind::SecurityPolicy
        | Kind::BackendTrafficPolicy
        | Kind::ClientTrafficPolicy
        | Kind::EnvoyExtensionPolicy
        | Kind::EnvoyPatchPolicy
        | Kind::EnvoyProxy => Shape::Signed("ancestors", 16),
        Kind::AiGatewayRoute
        | Kind::AiServiceBackend
        | Kind::BackendSecurityPolicy
        | Kind::QuotaPolicy
        | Kind::GatewayConfig
        | Kind::Backend
        | Kind::KgatewayBackend => Shape::Own(&["conditions"]),
        _ => return None,
    })
}

/// What there is to write a status from.
pub(super) struct Held<'a> {
    pub status: &'a Value,
    /// The controllers whose entries are ours.
    pub ours: &'a [String],
    pub now: &'a str,
    /// Something else was wanted before: then what is not wanted any more has to go, which the server sees to.
    pub wanted_otherwise: bool,
}

/// The status to write, when what is held does not say the same; entries of other controllers are kept.
pub(super) fn next(shape: Shape, wanted: Option<&Value>, held: &Held<'_>) -> Option<Value> {
    let Held { status: held, ours, now, wanted_otherwise } = *held;
    match shape {
        Shape::Own(parts) => {
            let wanted = wanted?.as_object()?;
            let is_part = |name: &str| parts.contains(&name);
            let mut status: Map<String, Value> = wanted.clone();
            status.retain(|name, _| is_part(name));
            let shared = |name: &str| name == "conditions";
            let same = status.iter().all(|(name, value)| says(&held[name], value, name, shared(name)));
            let stale = |name: &str| !shared(name) && !held[name].is_null() && !status.contains_key(name);
            if same && !wanted_otherwise && !parts.iter().any(|name| stale(name)) {
                return None;
            }
            for (name, value) in &mut status {
                stamp(value, &held[name.as_str()], name, now);
            }
            Some(Value::Object(status))
        }
        Shape::Signed(list, most) => {
            let is_ours = |entry: &&Value| {
                let signature = entry["controllerName"].as_str().unwrap_or_default();
                ours.iter().any(|name| name == signature)
            };
            let held: Vec<&Value> = held[list].as_array().into_iter().flatten().collect();
            let (before, others): (Vec<&Value>, Vec<&Value>) = held.into_iter().partition(is_ours);
            let wanted = wanted.and_then(|wanted| wanted[list].as_array()).map(Vec::as_slice).unwrap_or_default();
            let room = most.saturating_sub(others.len());
            let mut mine: Vec<Value> = wanted.iter().take(room).cloned().collect();
            let same =
                before.len() == mine.len() && before.iter().zip(&mine).all(|(held, mine)| says(held, mine, "", false));
            if same {
                return None;
            }
            for entry in &mut mine {
                let about = |entry: &Value| entry.get("parentRef").or(entry.get("ancestorRef")).cloned();
                let held = before.iter().find(|held| about(held) == about(entry));
                stamp(entry, held.copied().unwrap_or(&Value::Null), "", now);
            }
            let all: Vec<Value> = others.into_iter().cloned().chain(mine).collect();
            Some(Value::Object([(list.to_owned(), Value::Array(all))].into_iter().collect()))
        }
    }
}

/// The field that tells the elements of a list apart.
fn key(list: &str) -> Option<&'static str> {
    match list {
        "conditions" => Some("type"),
        "listeners" => Some("name"),
        _ => None,
    }
}

/// Whether what is held says all that is wanted. A list that is shared may hold more.
fn says(held: &Value, wanted: &Value, name: &str, shared: bool) -> bool {
    match (held, wanted) {
        (Value::Object(held), Value::Object(wanted)) => {
            wanted.iter().all(|(name, value)| says(held.get(name).unwrap_or(&Value::Null), value, name, false))
        }
        (Value::Array(held), Value::Array(wanted)) => {
            let said = |element: &Value, held: Option<&Value>| held.is_some_and(|held| says(held, element, "", false));
            (shared || held.len() == wanted.len())
                && wanted.iter().enumerate().all(|(at, element)| match key(name) {
                    Some(key) => said(element, of_key(held, element, key)),
                    None => said(element, held.get(at)),
                })
        }
        // The server leaves out empty lists of some parts.
        (Value::Null, Value::Array(wanted)) => wanted.is_empty(),
        _ => held == wanted,
    }
}

fn of_key<'a>(list: &'a [Value], element: &Value, key: &str) -> Option<&'a Value> {
    list.iter().find(|held| held[key] == element[key])
}

/// Gives each condition the time of its last transition: that of the one that is held, when its status is the same.
fn stamp(wanted: &mut Value, held: &Value, name: &str, now: &str) {
    const TIME: &str = "lastTransitionTime";
    match wanted {
        Value::Object(fields) if fields.contains_key("type") && fields.contains_key("status") => {
            let same = held["status"] == fields["status"];
            let time = held.get(TIME).filter(|_| same).cloned().unwrap_or_else(|| now.into());
            fields.insert(TIME.to_owned(), time);
        }
        Value::Object(fields) => {
            for (name, value) in fields {
                stamp(value, held.get(name.as_str()).unwrap_or(&Value::Null), name, now);
            }
        }
        Value::Array(elements) => {
            let Some(key) = key(name) else { return };
            let held = held.as_array().map(Vec::as_slice).unwrap_or_default();
            for element in elements {
                let before = of_key(held, element, key).cloned().unwrap_or_default();
                stamp(element, &before, "", now);
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const OURS: &str = "chancery.dev/gateway-controller";
    const NOW: &str = "2026-01-02T00:00:00Z";
    const BEFORE: &str = "2026-01-01T00:00:00Z";

    fn condition(kind: &str, status: &str, time: Option<&str>) -> Value {
        let mut condition =
            json!({"type": kind, "status": status, "reason": "R", "message": "", "observedGeneration": 1});
        if let Some(time) = time {
            condition["lastTransitionTime"] = time.into();
        }
        condition
    }

    fn parent(name: &str, controller: &str, conditions: &[Value]) -> Value {
        json!({"parentRef": {"name": name}, "controllerName": controller, "conditions": conditions})
    }

    fn write(kind: Kind, wanted: Option<&Value>, status: &Value, wanted_otherwise: bool) -> Option<Value> {
        let held = Held { status, ours: &[OURS.to_owned()], now: NOW, wanted_otherwise };
        next(of(kind).unwrap(), wanted, &held)
    }

    fn next_of(kind: Kind, wanted: &Value, status: &Value) -> Option<Value> {
        write(kind, Some(wanted), status, false)
    }

    #[test]
    fn entries_of_other_controllers_stay() {
        let theirs = parent("web", "other.dev/controller", &[condition("Accepted", "False", Some(BEFORE))]);
        let wanted = json!({"parents": [parent("web", OURS, &[condition("Accepted", "True", None)])]});
        let written = next_of(Kind::HttpRoute, &wanted, &json!({"parents": [theirs]})).unwrap();
        let ours = parent("web", OURS, &[condition("Accepted", "True", Some(NOW))]);
        assert_eq!(written, json!({"parents": [theirs, ours]}));
        assert_eq!(next_of(Kind::HttpRoute, &wanted, &written), None, "it says what is wanted");
        let removed = write(Kind::HttpRoute, None, &written, false).unwrap();
        assert_eq!(removed, json!({"parents": [theirs]}));
        assert_eq!(write(Kind::HttpRoute, None, &removed, false), None);
    }

    #[test]
    fn a_condition_keeps_its_time_until_its_status_changes() {
        let held = json!({"conditions": [
            condition("Accepted", "True", Some(BEFORE)), condition("Programmed", "False", Some(BEFORE)),
            condition("Theirs", "True", Some(BEFORE))]});
        let wanted =
            json!({"conditions": [condition("Accepted", "True", None), condition("Programmed", "True", None)]});
        let written = next_of(Kind::Gateway, &wanted, &held).unwrap();
        let times: Vec<_> =
            written["conditions"].as_array().unwrap().iter().map(|c| &c["lastTransitionTime"]).collect();
        assert_eq!(times, [BEFORE, NOW]);
    }

    #[test]
    fn a_listener_that_is_gone_is_taken_out() {
        let listener = |name: &str| json!({"name": name, "attachedRoutes": 0, "conditions": [], "supportedKinds": []});
        let held = json!({"listeners": [listener("a"), listener("b")]});
        let wanted = json!({"listeners": [listener("b")]});
        assert_eq!(next_of(Kind::Gateway, &wanted, &held), Some(wanted.clone()));
        assert_eq!(next_of(Kind::Gateway, &wanted, &wanted), None);
    }

    #[test]
    fn an_address_that_is_gone_is_taken_out() {
        let held = json!({"conditions": [], "addresses": [{"type": "IPAddress", "value": "192.0.2.1"}]});
        assert!(next_of(Kind::Gateway, &json!({"conditions": []}), &held).is_some());
    }
}
