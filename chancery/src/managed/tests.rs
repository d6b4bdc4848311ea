//! What is made for Gateways, without an API server.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use kinds::Kind;
use translator::DeployedPort;

use super::*;

fn settings() -> Settings {
    Settings {
        image: "envoyproxy/envoy:distroless-v1.40.0".into(),
        xds: "chancery.chancery-system.svc.cluster.local:18000".into(),
        mutual_tls: true,
        lifetimes: Lifetimes::new(Duration::from_secs(400), Duration::from_secs(100)).unwrap(),
        stock_limits: false,
    }
}

fn deployment(proxy: Option<Value>) -> Deployment {
    Deployment {
        uid: Some("uid-1".into()),
        class: "chancery".into(),
        managed: true,
        labels: [("team".into(), "a".into())].into(),
        annotations: [("note".into(), "b".into())].into(),
        ports: BTreeSet::from([DeployedPort { number: 80, udp: false }, DeployedPort { number: 53, udp: true }]),
        addresses: Vec::new(),
        parameters: proxy
            .map_or(Parameters::Default, |spec| Parameters::Proxy(Arc::new(serde_json::from_value(spec).unwrap()))),
    }
}

fn made(proxy: Option<Value>) -> Vec<Value> {
    let gateway = ObjectId::new(Kind::Gateway, "shop", "web");
    match objects(&gateway, &deployment(proxy), &settings()) {
        Wanted::Objects(objects) => objects,
        Wanted::Unchanged(reason) => panic!("{reason}"),
    }
}

fn of_kind<'a>(objects: &'a [Value], kind: &str) -> Option<&'a Value> {
    objects.iter().find(|object| object["kind"] == kind)
}

#[test]
fn everything_is_the_gateways_and_says_so() {
    let objects = made(None);
    let kinds: Vec<&str> = objects.iter().map(|object| object["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["ServiceAccount", "ConfigMap", "Deployment", "Service"]);
    for object in &objects {
        let metadata = &object["metadata"];
        assert_eq!((&metadata["name"], &metadata["namespace"]), (&json!("web-chancery"), &json!("shop")));
        assert_eq!(metadata["labels"]["gateway.networking.k8s.io/gateway-name"], "web");
        assert_eq!(metadata["labels"]["team"], "a");
        assert_eq!(metadata["annotations"]["note"], "b");
        assert_eq!(metadata["ownerReferences"][0]["uid"], "uid-1");
    }
    let template = &of_kind(&objects, "Deployment").unwrap()["spec"]["template"];
    assert_eq!(template["metadata"]["labels"]["team"], "a");
    assert_eq!(template["spec"]["containers"][0]["image"], "envoyproxy/envoy:distroless-v1.40.0");
    let ports = &of_kind(&objects, "Service").unwrap()["spec"]["ports"];
    assert_eq!(ports[0], json!({"name": "udp-53", "port": 53, "protocol": "UDP", "targetPort": 53}));
    assert_eq!(ports[1]["name"], "tcp-80");
}

#[test]
fn a_stock_envoy_takes_the_bootstrap() {
    let directory = tempfile::tempdir().unwrap();
    let home = directory.path().to_str().unwrap();
    let authority = testkit::Authority::new("test").unwrap();
    let leaf = authority.issue(&["envoy"]).unwrap();
    for (name, text) in [("tls.crt", &leaf.certificate), ("tls.key", &leaf.key), ("ca.crt", &authority.certificate)] {
        std::fs::write(directory.path().join(name), text).unwrap();
    }
    let objects = made(None);
    let files = of_kind(&objects, "ConfigMap").unwrap()["data"].as_object().unwrap();
    let here =
        |text: &str| text.replace(bootstrap::IDENTITY_DIRECTORY, home).replace(bootstrap::CONFIG_DIRECTORY, home);
    for (name, text) in files {
        std::fs::write(directory.path().join(name), here(text.as_str().unwrap())).unwrap();
    }
    testkit::validate(&here(files["bootstrap.yaml"].as_str().unwrap())).unwrap();
}

#[test]
fn an_envoy_proxy_has_its_say() {
    let objects = made(Some(json!({
        "concurrency": 2,
        "logging": {"level": {"default": "info", "router": "debug"}},
        "shutdown": {"drainTimeout": "30s", "minDrainDuration": "0s"},
        "bootstrap": {"type": "Merge", "value": "stats_flush_interval: 7s\n"},
        "provider": {"type": "Kubernetes", "kubernetes": {
            "envoyDeployment": {
                "replicas": 3,
                "pod": {"labels": {"x": "y"}, "nodeSelector": {"disk": "fast"}},
                "container": {"imageRepository": "mirror/envoy", "resources": {"limits": {"cpu": "1"}}},
                "patch": {"value": {"spec": {"template": {"spec": {"hostNetwork": true}}}}},
            },
            "envoyService": {"type": "ClusterIP", "annotations": {"lb": "no"}},
            "envoyPDB": {"minAvailable": 1},
        }},
    })));
    let spec = &of_kind(&objects, "Deployment").unwrap()["spec"];
    assert_eq!(spec["replicas"], 3);
    let pod = &spec["template"]["spec"];
    assert_eq!(pod["hostNetwork"], true);
    assert_eq!(pod["terminationGracePeriodSeconds"], 30);
    let container = &pod["containers"][0];
    assert_eq!(container["image"], "mirror/envoy:distroless-v1.40.0");
    assert!(container.get("lifecycle").is_none());
    let arguments = container["args"].as_array().unwrap();
    assert!(arguments.contains(&json!("router:debug")) && arguments.contains(&json!("info")), "{arguments:?}");
    let service = of_kind(&objects, "Service").unwrap();
    assert_eq!(
        (&service["spec"]["type"], &service["metadata"]["annotations"]["lb"]),
        (&json!("ClusterIP"), &json!("no"))
    );
    assert_eq!(of_kind(&objects, "PodDisruptionBudget").unwrap()["spec"]["minAvailable"], 1);
    let text = of_kind(&objects, "ConfigMap").unwrap()["data"]["bootstrap.yaml"].as_str().unwrap();
    assert!(text.contains("7s"), "{text}");
}

#[test]
fn autoscaled_deployments_and_daemon_sets_have_no_number_of_replicas() {
    let scaled = made(Some(json!({"provider": {"type": "Kubernetes", "kubernetes": {
        "envoyHpa": {"minReplicas": 2, "maxReplicas": 5}}}})));
    assert!(of_kind(&scaled, "Deployment").unwrap()["spec"].get("replicas").is_none());
    let scaler = of_kind(&scaled, "HorizontalPodAutoscaler").unwrap();
    assert_eq!(scaler["spec"]["scaleTargetRef"]["name"], "web-chancery");
    let everywhere = made(Some(json!({"provider": {"type": "Kubernetes", "kubernetes": {"envoyDaemonSet": {}}}})));
    assert!(of_kind(&everywhere, "Deployment").is_none());
    assert!(of_kind(&everywhere, "DaemonSet").unwrap()["spec"].get("replicas").is_none());
}

#[test]
fn an_address_that_is_asked_for_is_asked_of_the_cluster() {
    let gateway = ObjectId::new(Kind::Gateway, "shop", "web");
    let address = |value: &str| serde_json::from_value(json!({"type": "IPAddress", "value": value})).unwrap();
    let deployment = Deployment { addresses: vec![address("192.0.2.1"), address("192.0.2.2")], ..deployment(None) };
    let Wanted::Objects(objects) = objects(&gateway, &deployment, &settings()) else { panic!("nothing is made") };
    let spec = &of_kind(&objects, "Service").unwrap()["spec"];
    assert_eq!(
        (&spec["loadBalancerIP"], &spec["externalIPs"]),
        (&json!("192.0.2.1"), &json!(["192.0.2.1", "192.0.2.2"]))
    );
}

#[test]
fn parameters_that_cannot_be_read_leave_what_runs() {
    let gateway = ObjectId::new(Kind::Gateway, "shop", "web");
    let mut deployment = deployment(Some(json!({"provider": {"type": "Host"}})));
    assert!(
        matches!(objects(&gateway, &deployment, &settings()), Wanted::Unchanged(reason) if reason.contains("Host"))
    );
    for patch in [json!("none"), json!({"metadata": 1}), json!({"metadata": {"labels": "none"}})] {
        let proxy = json!({"provider": {"type": "Kubernetes", "kubernetes": {
            "envoyService": {"patch": {"type": "JSONMerge", "value": patch}}}}});
        deployment = self::deployment(Some(proxy));
        assert!(matches!(objects(&gateway, &deployment, &settings()), Wanted::Unchanged(_)), "{patch}");
    }
    deployment.parameters = Parameters::Broken;
    assert!(matches!(objects(&gateway, &deployment, &settings()), Wanted::Unchanged(_)));
}
