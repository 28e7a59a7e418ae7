//! The Helm chart: every scenario rendered by Helm 3 and 4 and judged as a whole, wrong values refused, upgrades that keep what must stay.

use cratekeeper_domain::TokenText;
use cratekeeper_tests::chart::{
    Findings, Helm, KubeApi, NAMESPACE, Rendering, chart_directory, compare_with_golden, judge,
    scenarios, schema_gaps, stale_table,
};
use cratekeeper_tests::{figure, workspace};
use serde_json::Value;

const NAME: &str = "crates-cratekeeper";
/// What a chart with three nodes needs at least.
const THREE: [&str; 8] = [
    "--set",
    "replicas=3",
    "--set",
    "peerTls.mode=selfSigned",
    "--set",
    "tarballs.kind=s3",
    "--set",
    "tarballs.s3.bucket=crates",
];

#[test]
fn every_scenario_lints_renders_and_is_right_as_a_whole() {
    for helm in Helm::installed() {
        let mut all = Findings::default();
        let scenarios = scenarios();
        for scenario in &scenarios {
            let linted = helm.lint(Some(&scenario.file));
            all.expect(linted.is_ok(), || linted.unwrap_err());
            let rendering = helm.rendered(Some(&scenario.file), &[]);
            all.add(judge(&rendering, scenario));
        }
        let figures = [
            ("scenarios rendered", scenarios.len()),
            ("manifests decoded", all.manifests),
            ("checks run", all.checks),
        ];
        for (what, count) in figures {
            figure(&format!("chart {what} with {}", helm.name), count);
        }
        all.assert_none_wrong();
    }
}

#[test]
fn what_is_rendered_is_what_was_looked_at() {
    for helm in Helm::installed() {
        for scenario in scenarios() {
            let rendering = helm.rendered(Some(&scenario.file), &[]);
            compare_with_golden(&scenario.name, &rendering);
        }
    }
}

#[test]
fn the_values_are_in_the_schema_and_in_the_table_of_the_readme() {
    let gaps = schema_gaps();
    assert!(gaps.is_empty(), "{}", gaps.join("\n"));
    let stale = stale_table(std::env::var_os("CRATEKEEPER_BLESS").is_some());
    assert!(
        stale.is_none(),
        "the table in the chart's README is not what values.yaml says (CRATEKEEPER_BLESS=1 writes it): {stale:?}"
    );
}

#[test]
fn the_chart_is_of_this_release() {
    let chart = std::fs::read_to_string(chart_directory().join("Chart.yaml"));
    let chart: Value = serde_saphyr::from_str(&chart.expect("the chart")).expect("it is YAML");
    assert_eq!(chart["appVersion"], env!("CARGO_PKG_VERSION"));
    assert_eq!(chart["version"], env!("CARGO_PKG_VERSION"));
}

/// `(--set …, what the refusal says)`.
const WRONG: [(&[&str], &str); 33] = [
    (&["replicas=2"], "choose 1, 3 or 5"),
    (&["replicas=4"], "choose 1, 3 or 5"),
    (&["replicas=6"], "replicas"),
    (&["replicas=three"], "replicas"),
    (&["replicaCount=3"], "replicaCount"),
    (&["image.repo=x"], "repo"),
    (&["service.type=External"], "ClusterIP"),
    (&["publicUrl=crates.example.org"], "publicUrl"),
    (&["publicUrl=https://crates.example.org/?a=b"], "publicUrl"),
    (&["cluster.id=Crates"], "cluster"),
    (&["persistence.size=ten"], "persistence"),
    (&["persistence.retention.whenDeleted=Keep"], "Retain"),
    (&["tarballs.kind=gcs"], "disk"),
    (&["tarballs.kind=s3"], "name the bucket"),
    (
        &["replicas=3", "peerTls.mode=insecure"],
        "more than one node needs tarballs that every node reaches",
    ),
    (
        &["replicas=3", "tarballs.kind=s3", "tarballs.s3.bucket=b"],
        "more than one node needs mutual TLS",
    ),
    (
        &["readReplicas.enabled=true", "peerTls.mode=insecure"],
        "more than one node needs tarballs",
    ),
    (&["peerTls.mode=plain"], "selfSigned"),
    (
        &["peerTls.mode=existingSecret"],
        "peerTls.existingSecret: name the Secret",
    ),
    (
        &["tls.mode=existingSecret"],
        "tls.existingSecret: name the Secret",
    ),
    (&["tls.mode=certManager"], "issuerRef: name the Issuer"),
    (&["tarballs.s3.accessKeyId=a"], "go together"),
    (
        &[
            "tarballs.kind=s3",
            "tarballs.s3.bucket=b",
            "tarballs.s3.accessKeyId=a",
            "tarballs.s3.secretAccessKey=b",
            "tarballs.s3.existingSecret=c",
        ],
        "keep one",
    ),
    (
        &["config.http.public_url=https://a"],
        "config.http.public_url: the chart sets this key",
    ),
    (
        &["config.cluster.peers={a:1}"],
        "config.cluster.peers: the chart sets this key",
    ),
    (
        &["config.cluster.admin_token=ck_x"],
        "a secret does not belong into a ConfigMap",
    ),
    (
        &["config.tarballs.secret_access_key=x"],
        "a secret does not belong into a ConfigMap",
    ),
    (
        &["terminationGracePeriodSeconds=30"],
        "is less than draining and stopping may take (65 s)",
    ),
    (&["ingress.enabled=true"], "name the host"),
    (&["httpRoute.enabled=true"], "name the Gateway"),
    (&["backup.every=1h"], "say where backups go"),
    (
        &["backup.cronJob.enabled=true"],
        "backup.cronJob.enabled needs backup.to",
    ),
    (&["restore.until=5"], "restore"),
];

#[test]
fn wrong_values_are_refused_in_words() {
    for helm in Helm::installed() {
        for (values, words) in WRONG {
            let set: Vec<&str> = values.iter().flat_map(|value| ["--set", value]).collect();
            match helm.template(None, &set) {
                Ok(_) => panic!("{} accepts {values:?}", helm.name),
                Err(refusal) => assert!(refusal.contains(words), "{values:?}: {refusal}"),
            }
        }
        figure(
            &format!("chart refusals checked with {}", helm.name),
            WRONG.len(),
        );
    }
}

/// Everything in a StatefulSet that Kubernetes lets nobody change, and the pods.
fn set_of(rendering: &Rendering) -> (Value, Value) {
    let mut spec = rendering.get("StatefulSet", NAME)["spec"].clone();
    let template = spec["template"].take();
    for changeable in [
        "template",
        "replicas",
        "updateStrategy",
        "minReadySeconds",
        "persistentVolumeClaimRetentionPolicy",
    ] {
        spec.as_object_mut().expect("a spec").remove(changeable);
    }
    (spec, template)
}

#[test]
fn upgrading_values_never_changes_claims_and_rolls_the_pods_only_where_it_must() {
    /// `(--set …, does it roll the pods?)`.
    const CHANGES: [(&str, bool); 14] = [
        ("replicas=5", false),
        ("restore.from=s3://backups/crates", false),
        ("persistence.retention.whenScaled=Delete", false),
        ("update.partition=2", false),
        ("service.type=LoadBalancer", false),
        ("metrics.serviceMonitor.enabled=true", false),
        ("networkPolicy.enabled=false", false),
        ("commonAnnotations.a=b", false),
        ("log.level=debug", true),
        ("config.registry.read_access=authenticated", true),
        ("image.tag=next", true),
        ("commonLabels.team=platform", true),
        ("resources.limits.memory=4Gi", true),
        ("publicUrl=https://crates.example.org", true),
    ];
    for helm in Helm::installed() {
        let (fixed, pods) = set_of(&helm.rendered(None, &THREE));
        for (change, rolls) in CHANGES {
            let more = [THREE.as_slice(), &["--set", change]].concat();
            let (fixed_then, pods_then) = set_of(&helm.rendered(None, &more));
            assert_eq!(fixed_then, fixed, "{change}");
            assert_eq!(pods_then != pods, rolls, "does {change} roll the pods?");
        }
        // One node that grows keeps its claim, whatever else becomes of it.
        let (alone, _) = set_of(&helm.rendered(None, &[]));
        assert_eq!(alone, fixed);
    }
}

/// The rendering an upgrade makes of what `api` shows.
fn upgraded(helm: &Helm, api: &KubeApi, more: &[&str]) -> Result<Rendering, String> {
    let arguments = api.arguments();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    helm.template(None, &[&arguments, more].concat())
}

#[test]
fn the_first_token_and_the_authority_survive_upgrades() {
    for helm in Helm::installed() {
        let api = KubeApi::start();
        let first = upgraded(&helm, &api, &THREE).expect("the first installation");
        let token = first.secret(&format!("{NAME}-admin-token"));
        let text = String::from_utf8(token["token"].clone()).expect("a token is text");
        TokenText::parse(&text).expect("the server takes the token that the chart makes");

        api.install(&first);
        let again = upgraded(&helm, &api, &THREE).expect("an upgrade");
        for secret in ["admin-token", "peer-ca", "peer-tls"] {
            let name = format!("{NAME}-{secret}");
            assert_eq!(first.secret(&name), again.secret(&name), "{secret}");
        }

        // Another name in the certificate needs another certificate, by the same authority.
        let name = ["--set", "peerTls.extraDnsNames={node.example.org}"];
        let renamed = upgraded(&helm, &api, &[&THREE[..], &name].concat()).expect("an upgrade");
        let (ca, tls) = (format!("{NAME}-peer-ca"), format!("{NAME}-peer-tls"));
        assert_eq!(first.secret(&ca), renamed.secret(&ca));
        assert_eq!(first.secret(&tls)["ca.crt"], renamed.secret(&tls)["ca.crt"]);
        assert_ne!(
            first.secret(&tls)["tls.crt"],
            renamed.secret(&tls)["tls.crt"]
        );
    }
}

#[test]
fn every_token_the_chart_makes_is_one_the_server_takes() {
    const MANY: &str = r#"extraObjects=[{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "tokens"},
        "data": {"tokens": "{{ range until 200 }}{{ include \"cratekeeper.newToken\" $ }} {{ end }}"}}]"#;
    for helm in Helm::installed() {
        let rendering = helm.rendered(None, &["--set-json", MANY]);
        let tokens = rendering.get("ConfigMap", "tokens")["data"]["tokens"].clone();
        let tokens = tokens.as_str().expect("text").split_whitespace();
        let tokens: std::collections::BTreeSet<&str> = tokens.collect();
        assert_eq!(tokens.len(), 200, "tokens are random");
        for token in tokens {
            TokenText::parse(token).expect("a token with the right check suffix");
        }
    }
}

#[test]
fn fewer_replicas_than_run_are_refused_with_the_way_to_do_it() {
    for helm in Helm::installed() {
        let api = KubeApi::start();
        let three = upgraded(&helm, &api, &THREE).expect("the first installation");
        api.install(&three);
        let one = [&THREE[..], &["--set", "replicas=1"]].concat();
        let refusal = upgraded(&helm, &api, &one).expect_err("two nodes would keep their votes");
        for words in [
            "3 nodes run and 1 are asked for",
            "cratekeeper cluster remove",
            "--set replicas=1 --set allowScaleDown=true",
        ] {
            assert!(refusal.contains(words), "{refusal}");
        }
        let allowed = [&one[..], &["--set", "allowScaleDown=true"]].concat();
        let allowed = upgraded(&helm, &api, &allowed).expect("it is said to be safe");
        assert_eq!(allowed.get("StatefulSet", NAME)["spec"]["replicas"], 1);
        let more = [&THREE[..], &["--set", "replicas=5"]].concat();
        upgraded(&helm, &api, &more).expect("growing needs no leave");
    }
}

#[test]
fn names_that_yaml_would_take_for_something_else_stay_names() {
    const ODD: [&str; 9] = [
        "fullnameOverride=1e3",
        "nameOverride=123",
        "admin.login=0x1f",
        "image.tag=1.10",
        "cluster.id=10",
        "commonLabels.on=yes",
        "priorityClassName=1e3",
        "serviceAccount.name=42",
        "persistence.storageClass=7",
    ];
    let odd: Vec<&str> = ODD
        .iter()
        .flat_map(|value| ["--set-string", value])
        .collect();
    let config = r#"config={"http":{"tarball_bytes_max":2147483648},"registry":{"reserved_names":["a\"b\\c","{{x}}"]}}"#;
    for helm in Helm::installed() {
        let more = [&odd[..], &["--namespace", "1e5", "--set-json", config]].concat();
        let rendering = helm.rendered(None, &more);
        let mut scenario = scenarios().remove(0);
        scenario.external.clear();
        let mut findings = judge(&rendering, &scenario);
        // It is in another namespace, which is all that may differ.
        findings.wrong.retain(|wrong| !wrong.contains("1e5"));
        findings.assert_none_wrong();
        let toml = rendering.get("ConfigMap", "1e3")["data"]["cratekeeper.toml"].clone();
        let toml: toml::Table = toml.as_str().expect("text").parse().expect("TOML");
        let bytes = toml["http"]["tarball_bytes_max"].as_integer();
        assert_eq!(bytes, Some(2_147_483_648));
        let names = toml["registry"]["reserved_names"].to_string();
        assert_eq!(names, r#"['a"b\c', "{{x}}"]"#);
        assert_eq!(toml["cluster"]["id"].as_str(), Some("10"));
    }
}

#[test]
fn alerts_and_dashboards_are_those_of_the_files() {
    let files = workspace().join("deploy/helm/cratekeeper/files");
    let rules = std::fs::read_to_string(files.join("alerts.yaml")).ok();
    let rules: Option<Value> = rules.map(|text| serde_saphyr::from_str(&text).expect("YAML"));
    let dashboards = std::fs::read_dir(files.join("dashboards"))
        .into_iter()
        .flatten();
    let dashboards: Vec<_> = dashboards.flatten().map(|entry| entry.path()).collect();
    let on = [
        "metrics.prometheusRule.enabled=true",
        "metrics.dashboards.enabled=true",
    ];
    let on: Vec<&str> = on.iter().flat_map(|value| ["--set", value]).collect();
    for helm in Helm::installed() {
        let rendering = helm.rendered(None, &on);
        let rendered = rendering.find("PrometheusRule", NAME);
        assert_eq!(rendered.map(|rule| &rule.value["spec"]), rules.as_ref());
        for path in &dashboards {
            let name = path
                .file_name()
                .and_then(|name| name.to_str())
                .expect("a name");
            let map = format!("{NAME}-dashboard-{}", name.trim_end_matches(".json"));
            let shown =
                rendering.get("ConfigMap", &map)["data"][format!("cratekeeper-{name}")].clone();
            let shown: Value = serde_json::from_str(shown.as_str().expect("text")).expect("JSON");
            let file = std::fs::read_to_string(path).expect("a dashboard");
            assert_eq!(shown, serde_json::from_str::<Value>(&file).expect("JSON"));
        }
        let runbooks = "metrics.prometheusRule.runbooks=https://wiki.example.org/crates/";
        let linked = helm.rendered(None, &[&on[..], &["--set", runbooks]].concat());
        let linked = linked
            .of_kind("PrometheusRule")
            .map(|rule| rule.text.clone())
            .collect::<String>();
        assert!(!linked.contains("cratekeeper.example"), "{linked}");
        assert_eq!(
            rendered.is_some(),
            linked.contains("https://wiki.example.org/crates/cratekeeper-")
        );
        let here = rendering.of_kind("ConfigMap").count();
        assert_eq!(here, dashboards.len() + 1, "in {NAMESPACE}");
    }
}

#[test]
fn the_notes_say_what_cargo_must_be_told_and_what_is_not_ready_for_others() {
    let chart = chart_directory().display().to_string();
    let install = [
        "install",
        "crates",
        &chart,
        "--namespace",
        NAMESPACE,
        "--dry-run=client",
    ];
    // Helm 3 asks a Kubernetes cluster even for a dry run; what it would print is the same template.
    let installed = Helm::installed().into_iter();
    for helm in installed.filter(|helm| helm.name == "helm4") {
        let printed = helm.run(&install).expect("the chart without values");
        let (_, notes) = printed.split_once("NOTES:").expect("there are notes");
        let begin = notes
            .find("[registries.cratekeeper]")
            .expect("a snippet for cargo");
        let snippet = notes[begin..].split("\n\n").next().expect("text");
        let snippet: toml::Table = snippet.parse().expect("cargo reads TOML");
        assert_eq!(
            snippet["registries"]["cratekeeper"]["index"].as_str(),
            Some("sparse+http://crates-cratekeeper.registry.svc.cluster.local/index/")
        );
        assert!(
            notes.contains("get secret crates-cratekeeper-admin-token"),
            "{notes}"
        );
        for warning in [
            "set publicUrl before",
            "one replica",
            "pod's own claim",
            "is plain text",
        ] {
            assert!(notes.contains(warning), "{warning}: {notes}");
        }
        let ready = scenarios();
        let ready = ready.iter().find(|scenario| scenario.name == "three-on-s3");
        let ready = ready.expect("a scenario").file.display().to_string();
        let more = [&install[..], &["--values", &ready]].concat();
        let printed = helm.run(&more).expect("a scenario");
        let (_, notes) = printed.split_once("NOTES:").expect("there are notes");
        assert!(!notes.contains("WARNING"), "{notes}");
    }
}
