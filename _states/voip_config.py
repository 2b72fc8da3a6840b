"""Converge a daemon's configuration files as one set, tried by the daemon before the swap."""

from salt.exceptions import CommandExecutionError, SaltInvocationError

__virtualname__ = "voip_config"


def __virtual__():
    if "voip_config.render" not in __salt__:
        return False, "the voip_config execution module is not loaded"
    return __virtualname__


def managed(
    name,
    source,
    files,
    context=None,
    secrets=None,
    check=None,
    user="root",
    group="root",
    mode="0640",
):
    """Make files in directory `name` what their templates say, all of them or none.

    source: salt:// directory with `<file>.j2` of each of files.
    context, secrets: see `voip_config.render`.
    check: execution module function that tries the directory as it would be, such as
    `rtpengine.check_config`; when it refuses, nothing is replaced.
    `changes` names files and what differs, never their text.
    """
    ret = {"name": name, "result": True, "changes": {}, "comment": "The files are as declared"}
    owner = {"user": user, "group": group}
    try:
        texts = __salt__["voip_config.render"](
            source, files, context=context, secrets=secrets, saltenv=__env__
        )
        ret["changes"] = __salt__["voip_config.changes"](name, texts, mode=mode, **owner)
        if not ret["changes"]:
            return ret
        if __opts__["test"]:
            return ret | {"result": None, "comment": "The files would be replaced"}
        if check:
            __salt__["voip_config.check"](name, texts, check, **owner)
        # Only what differs: a daemon is restarted for files that were written.
        differing = {file: texts[file] for file in ret["changes"]}
        __salt__["voip_config.install"](name, differing, mode=mode, **owner)
    except (CommandExecutionError, SaltInvocationError) as err:
        return ret | {"result": False, "changes": {}, "comment": str(err)}
    return ret | {"comment": "The files were replaced"}
