//! `make bench-translate`: what a translation costs from scratch, what one change costs, and how both grow.
//!
//! A seeded generator makes routes (one host, one to three paths, one or two backends each) with their Services, slices
//! and a policy for every tenth Service. Times are CPU times of this process.

#![allow(clippy::print_stdout, clippy::cast_precision_loss)]

use std::fmt::Write as _;
use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use kinds::{Object, Parsed};
use translator::{Change, Options, Translator};

/// The one that `chancery` has.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let sizes: Vec<usize> = words.iter().filter_map(|size| size.parse().ok()).collect();
    if words.iter().any(|word| word == "scratch") {
        return sizes.into_iter().for_each(from_scratch);
    }
    let sizes = if sizes.is_empty() { vec![1_000, 10_000, 50_000] } else { sizes };
    println!(
        "{:>8} {:>9} {:>10} {:>12} {:>10} | one change, us: {:>9} {:>9} {:>9} {:>9}",
        "routes", "parse ms", "ms/doc", "translate ms", "peak MiB", "endpoint", "route", "secret", "listener"
    );
    let mut first: Option<[f64; 4]> = None;
    for size in sizes {
        let text = generate(size);
        let begin = cpu();
        let objects = parse(&text);
        let parsing = cpu() - begin;
        let documents = objects.len();
        let begin = cpu();
        let mut translator = Translator::new(Options::default());
        let update = translator.apply(objects.into_iter().map(Change::Put));
        let translating = cpu() - begin;
        let resources: usize = update.groups.values().map(|group| group.set.len()).sum();
        black_box(update);
        let costs = [
            cost(&mut translator, |n| slice(n % 7, &format!("10.9.{}.{}", n % 250, n % 200))),
            cost(&mut translator, |n| route(n % 7, &format!("/edited/{n}"), 1)),
            cost(&mut translator, |n| secret(&format!("{n}"))),
            cost(&mut translator, |n| gateway(if n % 2 == 0 { "extra" } else { "other" })),
        ];
        println!(
            "{size:>8} {:>9.0} {:>10.4} {:>12.0} {:>10.0} | {:>25.0} {:>9.0} {:>9.0} {:>9.0}   ({documents} documents, {resources} resources)",
            millis(parsing),
            millis(parsing) / documents as f64,
            millis(translating),
            peak_mib(),
            costs[0],
            costs[1],
            costs[2],
            costs[3]
        );
        match first {
            None => first = Some(costs),
            Some(base) => println!(
                "{:>8} one change against the smallest size: endpoint {:.2}x route {:.2}x secret {:.2}x listener {:.2}x",
                "",
                costs[0] / base[0],
                costs[1] / base[1],
                costs[2] / base[2],
                costs[3] / base[3]
            ),
        }
    }
}

/// The same translation several times over, for a profiler to look at.
fn from_scratch(size: usize) {
    let objects = parse(&generate(size));
    for _ in 0..10 {
        let begin = cpu();
        let mut translator = Translator::new(Options::default());
        black_box(translator.apply(objects.iter().cloned().map(Change::Put)));
        println!("{size:>8} routes translated in {:.0} ms", millis(cpu() - begin));
    }
}

/// However slow a change is, the others get their turn.
const LONGEST: Duration = Duration::from_secs(3);

/// The median CPU time of one change, in microseconds.
fn cost(translator: &mut Translator, mut document: impl FnMut(usize) -> String) -> f64 {
    let mut times = Vec::new();
    let started = Instant::now();
    for round in 0..41 {
        if started.elapsed() > LONGEST {
            break;
        }
        let objects = parse(&document(round));
        let begin = cpu();
        black_box(translator.apply(objects.into_iter().map(Change::Put)));
        times.push((cpu() - begin).as_secs_f64() * 1e6);
    }
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

fn parse(text: &str) -> Vec<Arc<Object>> {
    let parsed = kinds::parse_text("bench.yaml", text).into_iter();
    parsed
        .map(|parsed| match parsed {
            Parsed::Object(object, _) => Arc::from(object),
            other => panic!("{other:?}"),
        })
        .collect()
}

fn generate(routes: usize) -> String {
    let mut text = gateway("extra");
    text.push_str("---\n");
    text.push_str(&secret("one"));
    let mut random = 42_u64;
    for number in 0..routes {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let paths = 1 + (random >> 33) as usize % 3;
        let _ = write!(text, "---\n{}", route(number, "/v1", paths));
        let _ = write!(
            text,
            "---\n{}---\n{}",
            service(number),
            slice(number, &format!("10.{}.{}.1", number / 250 % 250, number % 250))
        );
        if number % 10 == 0 {
            let _ = write!(text, "---\n{}", policy(number));
        }
    }
    text
}

fn gateway(listener: &str) -> String {
    format!(
        "apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: {{name: web, namespace: default}}\nspec:\n  gatewayClassName: c\n  listeners:\n  - {{name: http, protocol: HTTP, port: 80}}\n  - {{name: https, protocol: HTTPS, port: 443, tls: {{certificateRefs: [{{name: cert}}]}}, hostname: tls.example.com}}\n  - {{name: {listener}, protocol: TCP, port: 9000}}\n"
    )
}

fn secret(text: &str) -> String {
    let block = |label| format!("-----BEGIN {label}-----\\n{text}\\n-----END {label}-----\\n");
    format!(
        "apiVersion: v1\nkind: Secret\nmetadata: {{name: cert, namespace: default}}\nstringData: {{tls.crt: \"{}\", tls.key: \"{}\"}}\n",
        block("CERTIFICATE"),
        block("PRIVATE KEY")
    )
}

fn route(number: usize, path: &str, paths: usize) -> String {
    let mut text = format!(
        "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata:\n  name: route-{number}\n  namespace: default\nspec:\n  parentRefs:\n  - name: web\n    sectionName: http\n  hostnames:\n  - host-{number}.example.com\n  rules:\n"
    );
    for index in 0..paths {
        let _ = write!(
            text,
            "  - matches:\n    - path:\n        type: PathPrefix\n        value: {path}/{index}\n    backendRefs:\n    - name: service-{number}\n      port: 80\n"
        );
    }
    text
}

fn service(number: usize) -> String {
    format!(
        "apiVersion: v1\nkind: Service\nmetadata:\n  name: service-{number}\n  namespace: default\nspec:\n  ports:\n  - name: http\n    port: 80\n    targetPort: 8000\n"
    )
}

fn slice(number: usize, address: &str) -> String {
    format!(
        "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata:\n  name: service-{number}-1\n  namespace: default\n  labels:\n    kubernetes.io/service-name: service-{number}\naddressType: IPv4\nports:\n- name: http\n  port: 8000\nendpoints:\n- addresses: ['{address}']\n  conditions:\n    ready: true\n"
    )
}

fn policy(number: usize) -> String {
    format!(
        "apiVersion: gateway.networking.k8s.io/v1\nkind: BackendTLSPolicy\nmetadata: {{name: policy-{number}, namespace: default}}\nspec: {{targetRefs: [{{group: \"\", kind: Service, name: service-{number}}}], validation: {{wellKnownCACertificates: System, hostname: service-{number}.example.com}}}}\n"
    )
}

/// CPU time of this thread.
fn cpu() -> Duration {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(u64::try_from(now.tv_sec).unwrap_or_default(), u32::try_from(now.tv_nsec).unwrap_or_default())
}

fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

fn peak_mib() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<f64>().ok()).unwrap_or_default() / 1024.0
}
