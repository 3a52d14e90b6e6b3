import pytest

from core.errors import BadInput
from signer.keystores.policies import Identity, agency_mount, policy_for, same_text


@pytest.mark.parametrize("identity", Identity)
def test_the_same_arguments_give_the_same_text(identity):
    one, two = (policy_for(identity, ["transit", "transit-a01"]) for _ in range(2))
    assert one.hcl() == two.hcl()
    assert one.sha256 == two.sha256
    assert same_text(one, "\n" + two.hcl())


def test_the_web_has_no_rule_at_all():
    policy = policy_for(Identity.WEB, ["transit"])
    assert policy.rules == ()
    assert all(line.startswith("#") for line in policy.hcl().splitlines())


def test_a_signer_has_two_rights_a_mount_and_its_own_token():
    may = {rule.path: rule.may for rule in policy_for(Identity.SIGNER, ["transit"]).rules if rule.may}
    assert may == {
        "transit/sign/+": ("update",), "transit/keys/+": ("read",), "auth/token/lookup-self": ("read",),
        "auth/token/renew-self": ("update",), "auth/token/revoke-self": ("update",), "sys/capabilities-self": ("update",),
    }  # fmt: skip


@pytest.mark.parametrize("identity", sorted(set(Identity) - {Identity.SIGNER}))
def test_nobody_else_signs(identity):
    assert not [r for r in policy_for(identity, ["transit"]).rules if "/sign/" in r.path and r.may]


@pytest.mark.parametrize("identity", Identity)
def test_nothing_is_left_to_a_default_where_values_are_named(identity):
    for rule in policy_for(identity, ["transit"]).rules:
        for name in (name for name, values in rule.allowed.items() if values):
            assert f'"{name}" = [""]' in rule.hcl()


def test_no_path_has_two_rules():
    for identity in Identity:
        paths = [rule.path for rule in policy_for(identity, ["a", "b", "ns/c"]).rules]
        assert len(paths) == len(set(paths))


def test_a_change_is_seen():
    policy = policy_for(Identity.SIGNER, ["transit"])
    assert not same_text(policy, policy.hcl().replace('"key_version", ', ""))
    assert not same_text(policy, policy_for(Identity.SIGNER, ["transit", "other"]).hcl())


@pytest.mark.parametrize(
    "mount", ["", "*", "+", "a/+", "a/*", "a*", "../sys", "a b", 'a"', "sys{{identity.entity.id}}", "Ấ"]
)
def test_a_mount_that_a_policy_would_read_otherwise_is_refused(mount):
    with pytest.raises(BadInput) as raised:
        policy_for(Identity.SIGNER, [mount])
    assert raised.value.code == "key.bad_mounts"


def test_no_mount_is_no_policy():
    with pytest.raises(BadInput):
        policy_for(Identity.SIGNER, [])


def test_an_agency_has_a_mount_and_names_of_its_own():
    assert agency_mount("H55.242") == "transit-h55-242"
    assert policy_for(Identity.SIGNER, ["transit-h55-242"], "H55.242").name == "dauso-signer-h55-242"
    assert policy_for(Identity.SIGNER, ["transit"]).name == "dauso-signer"
