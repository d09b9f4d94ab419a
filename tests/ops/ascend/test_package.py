"""What an installed operator package needs besides itself."""

from neonext_ms.ops.ascend.package import missing_for_operators

THERE = {"ASCEND_OPP_PATH": "/usr/local/Ascend/latest/opp"}


def test_what_the_binding_of_operators_needs():
    assert missing_for_operators(THERE, lambda name: "/usr/bin/g++") == ""
    assert "g++" in missing_for_operators(THERE, lambda name: None)
    assert "set_env.sh" in missing_for_operators({}, lambda name: "/usr/bin/g++")
