"""The Helm chart, rendered: Kubernetes takes it, and it holds what it promises."""

import contextlib
import json
import re
import socketserver
import ssl
import struct
import threading
from pathlib import Path

import psycopg
import pytest
import trustme
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
        "objects.url=file:///x", "image.digest=latest", "database.sslMode=verify-ca,database.ca.configMap=",
    ],
)  # fmt: skip
def test_values_that_would_weaken_it_are_refused(wrong):
    done = helm(wrong)
    assert done.returncode != 0
    assert "schema" in done.stderr


def test_the_home_that_is_made_lies_inside_its_volume():
    """The folder of a volume itself is root's, its group ours: ``dauso init`` closes the home, which only its owner can."""
    (init,) = pods(rendered("init.run=true"))["init"]["spec"]["initContainers"]
    assert init["args"][0] == "init"
    home = next(each["value"] for each in init["env"] if each["name"] == "DAUSO_HOME")
    mounts = {each["mountPath"]: each["name"] for each in init["volumeMounts"]}
    assert home not in mounts
    assert mounts[str(Path(home).parent)] == "home"


def test_web_asks_the_signer_by_its_whole_name_in_any_cluster():
    done = helm("clusterDomain=inner.example", "fullname=x")
    assert done.returncode != 0, "no such value"
    config = of_kind(rendered("clusterDomain=inner.example"), "ConfigMap")["town-dauso-relay"]["data"]["web.cfg"]
    assert "server signer town-dauso-signer.default.svc.inner.example.:8443 " in config
    assert "verifyhost town-dauso-signer\n" in config
    assert "town-dauso-signer" in of_kind(rendered(), "Service")


def test_a_relay_stays_within_its_memory_whatever_the_node_lets_it_open():
    """52 bytes a file were measured: 55 MB for the million that containerd allows, and the limit is 64 MiB for all."""
    for text in of_kind(rendered(), "ConfigMap")["town-dauso-relay"]["data"].values():
        most = int(re.search(r"global\n +maxconn (\d+)\n", text)[1])
        assert most * 2 + 100 < 1024, "two files a connection, under the smallest usual limit"


class _Greeter(socketserver.StreamRequestHandler):
    """As far as PostgreSQL goes before it knows a user: TLS where it is asked for (protocol 3.0, "SSLRequest"), then a refusal."""

    def handle(self):
        _, code = struct.unpack("!II", self.rfile.read(8))
        if code != 80877103:
            self._refuse(self.connection)
            return
        self.wfile.write(b"S")
        with contextlib.suppress(OSError), self.server.tls.wrap_socket(self.connection, server_side=True) as stream:
            stream.recv(4096)
            self._refuse(stream)

    @staticmethod
    def _refuse(stream):
        said = b"SFATAL\0VFATAL\0C28000\0Mreached\0\0"
        stream.sendall(b"E" + struct.pack("!I", 4 + len(said)) + said)


@pytest.fixture(scope="module")
def greeters():
    """Two servers of one name, each with an authority of its own: (port, authority's file)."""
    found = []
    with contextlib.ExitStack() as held:
        for _ in range(2):
            authority = trustme.CA()
            server = held.enter_context(socketserver.ThreadingTCPServer(("127.0.0.1", 0), _Greeter))
            server.tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            authority.issue_cert("localhost").configure_cert(server.tls)
            threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
            held.callback(server.shutdown)
            found.append((server.server_address[1], held.enter_context(authority.cert_pem.tempfile())))
        yield found


@pytest.mark.parametrize("role", ["web", "migration"])
@pytest.mark.parametrize("ca", [True, False])
@pytest.mark.parametrize("mode", ["verify-full", "verify-ca", "require", "prefer", "disable"])
def test_every_mode_of_the_database_connects_and_the_strict_ones_to_the_right_server_alone(
    greeters, monkeypatch, tmp_path, mode, ca, role
):
    """The pod's own variables, and libpq. Its "system" roots are refused with weak modes, and are empty in the image."""
    values = [f"database.sslMode={mode}", *([] if ca else ["database.ca.configMap="])]
    if mode == "verify-ca" and not ca:
        assert helm(*values).returncode != 0
        return
    env = pods(rendered(*values))[role]["spec"]["containers"][0]["env"]
    given = {each["name"]: each["value"] for each in env if each["name"].startswith("PGSSL")}
    (port, authority), (other, _) = greeters
    roots = given.get("PGSSLROOTCERT")
    assert roots in ({"/etc/ssl/dauso/database.crt"} if ca else {"/etc/ssl/certs/ca-certificates.crt", None})
    if roots:
        given["PGSSLROOTCERT"] = authority
    monkeypatch.setenv("HOME", str(tmp_path))
    for name, value in given.items():
        monkeypatch.setenv(name, value)

    def said(port):
        with pytest.raises(psycopg.OperationalError) as refused:
            psycopg.connect(
                host="localhost", hostaddr="127.0.0.1", port=port, user="dauso", dbname="dauso", connect_timeout=5
            )
        return str(refused.value)

    assert "reached" in said(port)
    strict = mode.startswith("verify") or (
        mode == "require" and ca
    )  # with roots named libpq takes "require" for "verify-ca"
    assert ("reached" in said(other)) is not strict


def test_an_empty_list_of_peers_closes_the_way(tmp_path):
    (tmp_path / "v.yaml").write_text(
        yaml.safe_dump({"networkPolicy": {"database": [], "ingress": [], "monitoring": [], "dns": []}})
    )
    done = helm(file=tmp_path / "v.yaml")
    assert done.returncode == 0, done.stderr
    for each in of_kind([d for d in yaml.safe_load_all(done.stdout) if d], "NetworkPolicy").values():
        for rule in (each["spec"].get("egress") or []) + (each["spec"].get("ingress") or []):
            assert rule.get("to") or rule.get("from")
