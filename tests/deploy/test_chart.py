"""The Helm chart, rendered: Kubernetes takes it, and it holds what it promises."""

import json
import re

import pytest
import yaml

from tests.deploy.kit import CHART, SECRET_SETTINGS, SETTINGS, helm, kubernetes_errors, pods, rendered, run, tool

pytestmark = pytest.mark.live
FORMS = {
    "as it stands": (),
    "first start": ("init.run=true",),
    "by certificate": (
        "keys.vault.login=cert",
        "keys.vault.certSecret=vault-cert",
        "ingress.enabled=true",
        "ingress.tlsSecret=t",
    ),
    "hardware": (
        "keys.store=pkcs11",
        "keys.pkcs11.module=/opt/hsm.so",
        "keys.pkcs11.token=dauso",
        "keys.pkcs11.pinSecret=pin",
    ),
    "stopped": ("stopped=true",),
    "secrets": (
        "secretSettings.DAUSO_MAIL_PASSWORD.secret=mail",
        "secretSettings.DAUSO_MAIL_PASSWORD.key=p",
        "settings.DAUSO_LOG_LEVEL=info",
    ),
}
form = pytest.mark.parametrize("values", FORMS.values(), ids=FORMS.keys())


def of_kind(objects, kind):
    return {each["metadata"]["name"]: each for each in objects if each["kind"] == kind}


def containers(template):
    return template["spec"].get("initContainers", []) + template["spec"]["containers"]


def test_helm_finds_nothing_to_say():
    done = run(tool("helm"), "lint", "--strict", CHART)
    assert done.returncode == 0, done.stdout
    assert "WARNING" not in done.stdout
    assert "ERROR" not in done.stdout


@form
def test_kubernetes_takes_every_object(values):
    for each in rendered(*values):
        assert kubernetes_errors(each) == [], each["metadata"]["name"]


def test_the_schemas_would_find_a_mistake():
    broken = json.loads(json.dumps(of_kind(rendered(), "Deployment")["town-dauso-web"]))
    broken["spec"]["template"]["spec"]["containers"][0]["readOnlyFilesystem"] = True
    assert kubernetes_errors(broken)


@form
def test_every_container_is_shut_in(values):
    found = pods(rendered(*values))
    assert {"web", "signer", "worker", "migration"} <= set(found)
    for role, template in found.items():
        pod = template["spec"]
        assert pod["automountServiceAccountToken"] is False, role
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["runAsUser"] > 0
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert not {"hostNetwork", "hostPID", "hostIPC"} & set(pod)
        assert not [v for v in pod["volumes"] if "hostPath" in v]
        for each in containers(template):
            context = each["securityContext"]
            assert context["readOnlyRootFilesystem"] is True, (role, each["name"])
            assert context["runAsNonRoot"] is True
            assert context["allowPrivilegeEscalation"] is False
            assert context["capabilities"] == {"drop": ["ALL"]}
            assert each["resources"]["limits"]["memory"]
            assert re.search(r":\d|@sha256:", each["image"]), each["image"]


@form
def test_every_setting_exists_and_no_secret_is_spelled_out(values):
    objects = rendered(*values)
    assert of_kind(objects, "Secret") == {}
    for role, template in pods(objects).items():
        for each in containers(template):
            for entry in each.get("env", []):
                name = entry["name"]
                if name.startswith("DAUSO_"):
                    assert name in SETTINGS, (role, name)
                if name in SECRET_SETTINGS or re.search(r"PASSWORD|SECRET", name):
                    assert set(entry) == {"name", "valueFrom"}, name
                    assert "secretKeyRef" in entry["valueFrom"]
                assert not re.search(r"://[^/@]*:[^/@]+@", entry.get("value", "")), name
            assert "envFrom" not in each


@form
def test_only_the_signer_has_what_opens_keys(values):
    for role, template in pods(rendered(*values)).items():
        text = yaml.safe_dump(template)
        held = {
            word
            for word in ("DAUSO_KEYS", "DAUSO_VAULT", "DAUSO_PKCS11", "people-key", "highwater", "serviceAccountToken")
            if word in text
        }
        if role in {"signer", "init"}:
            assert {"DAUSO_KEYS", "people-key", "highwater"} <= held
            assert template["spec"]["serviceAccountName"] == "town-dauso-signer"
        else:
            assert held == set(), role
            assert template["spec"]["serviceAccountName"] != "town-dauso-signer"
        users = re.findall(r"postgresql\+psycopg://(\w+)@", text)
        assert users == ["dauso" if role in {"signer", "init", "migration"} else f"dauso_{role}"]


def _may_reach(policy, port):
    """Peers that this policy's egress opens on a port."""
    return [
        peer for rule in policy["spec"].get("egress") or [] for peer in rule.get("to", [{}])
        if any(p.get("port") == port for p in rule.get("ports", [{"port": port}]))
    ]  # fmt: skip


@form
def test_the_network_is_closed_but_for_what_is_named(values):
    policies = of_kind(rendered(*values), "NetworkPolicy")
    deny = policies["town-dauso-deny"]["spec"]
    assert set(deny["policyTypes"]) == {"Ingress", "Egress"}
    assert not deny.get("ingress")
    assert not deny.get("egress")
    assert set(deny["podSelector"]["matchLabels"].items()) == {
        ("app.kubernetes.io/name", "dauso"),
        ("app.kubernetes.io/instance", "town"),
    }
    for name, each in policies.items():
        assert set(each["spec"]["policyTypes"]) == {"Ingress", "Egress"}, name
        for rule in (each["spec"].get("egress") or []) + (each["spec"].get("ingress") or []):
            assert rule.get("to") or rule.get("from"), f"{name}: open to all"
            assert rule["ports"], f"{name}: every port"


@form
def test_only_signer_and_first_start_reach_openbao(values):
    policies = of_kind(rendered(*values), "NetworkPolicy")
    reach = {name.removeprefix("town-dauso-") for name, each in policies.items() if _may_reach(each, 8200)}
    assert reach == (set() if "keys.store=pkcs11" in values else {"signer", "init"})
    for name in reach:
        chosen = policies[f"town-dauso-{name}"]["spec"]["podSelector"]["matchLabels"]
        assert chosen["app.kubernetes.io/component"] == name


def test_the_signer_is_asked_by_web_alone():
    ingress = of_kind(rendered(), "NetworkPolicy")["town-dauso-signer"]["spec"]["ingress"]
    relay = [rule for rule in ingress if rule["ports"] == [{"protocol": "TCP", "port": 8443}]]
    assert [
        peer["podSelector"]["matchLabels"]["app.kubernetes.io/component"] for rule in relay for peer in rule["from"]
    ] == ["web"]
    assert all("from" in rule for rule in ingress)


def test_only_the_worker_goes_out_into_the_world_and_not_into_the_house():
    policies = of_kind(rendered(), "NetworkPolicy")
    wide = {
        name: peer["ipBlock"] for name, each in policies.items() for rule in each["spec"].get("egress") or []
        for peer in rule["to"] if peer.get("ipBlock", {}).get("cidr") == "0.0.0.0/0"
    }  # fmt: skip
    assert list(wide) == ["town-dauso-worker"]
    assert {"10.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.168.0.0/16"} <= set(
        wide["town-dauso-worker"]["except"]
    )


def test_the_token_for_openbao_is_short_and_for_openbao_alone():
    volume = next(v for v in pods(rendered())["signer"]["spec"]["volumes"] if v["name"] == "vault-token")
    token = volume["projected"]["sources"][0]["serviceAccountToken"]
    assert token == {"audience": "openbao", "expirationSeconds": 900, "path": "vault"}


def test_names_for_recovery_are_stable_and_probes_ask_real_routes():
    from api.web.health import router

    routes = {route.path for route in router.routes}
    objects = rendered()
    for role in ("signer", "worker"):
        assert f"town-dauso-{role}" in of_kind(objects, "StatefulSet")
        env = pods(objects)[role]["spec"]["containers"][0]["env"]
        assert next(e for e in env if e["name"] == "DAUSO_EXECUTOR_ID")["valueFrom"] == {
            "fieldRef": {"fieldPath": "metadata.name"}
        }
    web = pods(objects)["web"]["spec"]["containers"][0]
    assert (
        {web[f"{each}Probe"]["httpGet"]["path"] for each in ("startup", "liveness", "readiness")}
        == {"/healthz", "/readyz"}
        <= routes
    )
    budgets = of_kind(objects, "PodDisruptionBudget")
    assert set(budgets) == {f"town-dauso-{each}" for each in ("web", "signer", "worker")}


def test_one_signer_and_its_mark_outlives_the_chart():
    objects = rendered()
    assert of_kind(objects, "StatefulSet")["town-dauso-signer"]["spec"]["replicas"] == 1
    assert (
        of_kind(objects, "PersistentVolumeClaim")["town-dauso-highwater"]["metadata"]["annotations"][
            "helm.sh/resource-policy"
        ]
        == "keep"
    )


@pytest.mark.parametrize("values", [("stopped=true",), ("init.run=true",)])
def test_nothing_runs_beside_a_first_start_or_while_stopped(values):
    objects = rendered(*values)
    for each in [*of_kind(objects, "Deployment").values(), *of_kind(objects, "StatefulSet").values()]:
        assert each["spec"]["replicas"] == 0


def test_tables_are_changed_before_the_new_pods():
    job = of_kind(rendered(), "Job")["town-dauso-upgrade"]
    assert job["metadata"]["annotations"]["helm.sh/hook"] == "pre-upgrade"
    assert job["spec"]["template"]["spec"]["containers"][0]["args"] == ["upgrade"]


@pytest.mark.parametrize(
    "wrong",
    [
        "keys.store=software", "hots=x", "database.password=x", "settings.DAUSO_MAIL_PASSWORD=x", "settings.OTHER=x", "signer.replicas=2",
        "keys.vault.login=cert", "keys.store=pkcs11", "keys.vault.url=http://openbao:8200", "signUrl=http://sign.example.gov.vn",
        "objects.url=file:///x", "image.digest=latest",
    ],
)  # fmt: skip
def test_values_that_would_weaken_it_are_refused(wrong):
    done = helm(wrong)
    assert done.returncode != 0
    assert "schema" in done.stderr


def test_an_empty_list_of_peers_closes_the_way(tmp_path):
    (tmp_path / "v.yaml").write_text(
        yaml.safe_dump({"networkPolicy": {"database": [], "ingress": [], "monitoring": [], "dns": []}})
    )
    done = helm(file=tmp_path / "v.yaml")
    assert done.returncode == 0, done.stderr
    for each in of_kind([d for d in yaml.safe_load_all(done.stdout) if d], "NetworkPolicy").values():
        for rule in (each["spec"].get("egress") or []) + (each["spec"].get("ingress") or []):
            assert rule.get("to") or rule.get("from")
