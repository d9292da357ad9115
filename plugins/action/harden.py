# Copyright (c) the remediator authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The harden action: hands Ansible's connection and variables to remediator.harden, and its answer back."""

from __future__ import annotations

import contextlib
import os
import pwd
import re
import resource
import socket
import sys
from pathlib import Path

from ansible.errors import AnsibleActionFail, AnsibleConnectionFailure, AnsibleError
from ansible.plugins.action import ActionBase

try:
    from remediator import ansible_errors, ansible_result, errand, harden, wire
    from remediator.catalogue import load_catalogue
    from remediator.child_processes import end_children
    from remediator.commit_documents import Order
    from remediator.errors import HostError, RemediatorError
    from remediator.history import new_ulid
    from remediator.plan import Undo
    from remediator.policy import Policy
    from remediator.session import SessionDirectory
    from remediator.ssh_settings import host_key_refusal
    from remediator.tls.store import store_directory
except ImportError as error:
    MISSING = error
else:
    MISSING = None

ARGUMENTS = {
    **{name: {"type": "list", "elements": "str", "default": []} for name in ("roles", "controls", "skip_controls")},
    "rollback": {"type": "str"},
    "force": {"type": "bool", "default": False},
}
# Of a run whose id is given in full: which run is `last`, or which one a part of an id names, only a fleet can tell.
RUN = re.compile(r"[0-9A-HJKMNP-TV-Z]{26}\Z")
# Before all others, because of each option ssh takes the first. `ask` and `accept-new` are for a person at a terminal;
# a shared connection may have been opened by somebody who did not check the host's key.
SSH_ARGUMENTS = "-o ForwardAgent=no -o StrictHostKeyChecking=yes -o ControlMaster=no -o ControlPath=none"
# A host that never stops talking must exhaust its own worker process, not the controller.
MEMORY = 2 * 1024**3
SSH_OPTIONS = ("ssh_args", "ssh_common_args", "ssh_extra_args")
# A link that is dead is noticed within a minute, so that a commit's outcome is asked for again. A user's own wins.
ALIVE_ARGUMENTS = "-o ServerAliveInterval=15 -o ServerAliveCountMax=4"
ALIVE = re.compile(r"ServerAlive(Interval|CountMax)", re.IGNORECASE)
UNCHECKED = re.compile(r"StrictHostKeyChecking[ =]+[\"']?(no|off|false)\b", re.IGNORECASE)


class ActionModule(ActionBase):
    """See plugins/modules/harden.py for the arguments and results."""

    TRANSFERS_FILES = False
    _supports_check_mode = True
    _supports_async = False
    _supports_diff = True
    # Of the last exchange: whether it failed in the connection plugin, and whether the host was not even reached.
    _lost = False
    _unreached = False

    def run(self, tmp=None, task_vars=None):
        """Observe; then preview, apply, or leave the answer for the driver."""
        result = super().run(tmp, task_vars)
        if MISSING is not None:
            raise AnsibleActionFail(
                f"The Python package remediator cannot be imported by {sys.executable}, which runs Ansible "
                f"({MISSING}). Install it there: pip install remediator."
            )
        _, arguments = self.validate_argument_spec(ARGUMENTS)
        self._variables = task_vars or {}
        self._host = self._variables["inventory_hostname"]
        try:
            with self._bounded():
                result.update(self._work(arguments))
        except HostError as failure:
            raise (AnsibleConnectionFailure if self._unreached else AnsibleActionFail)(str(failure)) from None
        except RemediatorError as failure:
            raise AnsibleActionFail(str(failure)) from None
        return result

    def _work(self, arguments):
        session_file = self._value("remediator_session")
        directory, session = SessionDirectory.open(session_file) if session_file else (None, None)
        if session is not None and session.mode == "observe":
            harden.observe_for_driver(directory, session, self._host, self._exchange)
            return {"changed": False}
        if session is not None and session.mode == "keys":
            harden.make_key_for_driver(directory, session, self._host, self._exchange)
            return {"changed": True}
        if session is not None and session.mode in ("recover", "purge"):
            errand.run_for_driver(directory, session, self._host, self._exchange)
            return {"changed": True}
        catalogue = load_catalogue()
        variables = {**catalogue.defaults, **self._own(catalogue.defaults)}
        if session is not None:
            chosen = catalogue.select(controls=session.controls)
            store = Path(session.tls_store)
            target = self._target(chosen, session.policy, variables, store, session.undo)
            return ansible_result.driven_result(harden.apply_for_driver(directory, session, target))
        undo = self._undo(arguments, catalogue)
        words = () if undo else (arguments["roles"], arguments["controls"], arguments["skip_controls"])
        chosen = catalogue.select(*words)
        # Nobody is asked here, neither in check mode, which shows what an apply would do, nor in that apply.
        target = self._target(chosen, Policy(asks=False), variables, store_directory(), undo)
        order = Order(new_ulid(), who(), self._task.get_name(), undo.run if undo else "")
        if self._task.check_mode:
            plan = harden.preview(target)
            told = ansible_result.preview_result(plan)
        else:
            plan, result = harden.apply(target, order)
            told = ansible_result.applied_result(plan, result)
        return ansible_result.with_refusals(told, target.left_out(plan), self._task.check_mode) if undo else told

    def _undo(self, arguments, catalogue):
        """What the task takes back; None where it hardens."""
        run = arguments["rollback"]
        if run is None:
            return None
        if RUN.match(run) is None:
            raise AnsibleActionFail(
                f"rollback: {run!r} is no run. Give the whole id that `remediate transactions` lists, of 26 letters "
                "and digits."
            )
        if arguments["roles"] or arguments["skip_controls"]:
            raise AnsibleActionFail("rollback goes with controls and force, and with nothing else that selects.")
        named = [name for word in arguments["controls"] for name in sorted(catalogue.ids(word)) or [word]]
        return Undo(run=run, controls=tuple(named), force=arguments["force"])

    def _target(self, chosen, policy, variables, store, undo=None):
        address = self._value("ansible_host") or self._host
        given = (self._host, str(address), store, self._exchange, chosen, policy, variables)
        return harden.Target(*given) if undo is None else harden.UndoTarget(*given, undo)

    def _exchange(self, program, request, secret=b""):
        """An exchange whose every failure is the host's own answer; the next one begins with a new connection."""
        try:
            return self._send(program, request, secret)
        except AnsibleError as failure:
            self._lost, self._unreached = True, isinstance(failure, AnsibleConnectionFailure)
            default = "unreachable" if self._unreached else "answer"
            raise ansible_errors.host_error(self._host, str(failure), default) from None

    def _send(self, program, request, secret):
        """Run one of our programs on the host through the task's connection and become plugins.

        `secret` is a private key (PEM) that no document may hold; it goes the way of the request, on standard input.
        """
        marker = wire.new_marker()
        self._settle()
        self._connect_anew()
        context = self._connection._play_context
        was_quiet = context.no_log
        context.no_log = True  # -vvv would print the observation, or a key
        try:
            answer = self._low_level_execute_command(
                wire.command(self._value("ansible_python_interpreter"), marker),
                in_data=wire.frame(marker, program, request, secret=secret),
                executable="/bin/sh",
            )
        finally:
            context.no_log = was_quiet
        stdout, stderr = (answer[name].encode("utf-8", "surrogateescape") for name in ("stdout", "stderr"))
        try:
            return wire.read_answer(self._host, stdout, marker, answer["rc"], stderr)
        except HostError as failure:
            raise ansible_errors.explained(failure, answer["stderr"]) from None

    def _connect_anew(self):
        """Let go of a connection that failed: a plugin that keeps one would go on failing on it."""
        self._unreached = False
        if self._lost:
            self._lost = False
            # One that keeps none has no reset; what goes wrong in it, the connection that is made next tells better.
            with contextlib.suppress(AnsibleError, NotImplementedError):
                self._connection.reset()

    def _settle(self):
        """Connection options that are not a matter of taste here. A plugin without one of them is left alone."""
        wanted = {
            "host_key_checking": True,
            "host_key_auto_add": False,
            "pipelining": True,  # the local connection drops standard input otherwise when it sends a password
            "reconnection_retries": 0,  # a commit is never sent twice
        }
        options = self._connection.option_definitions
        for name, value in wanted.items():
            if name in options:
                self._connection.set_option(name, value)
        for name in SSH_OPTIONS:
            if name in options and UNCHECKED.search(self._connection.get_option(name) or ""):
                raise host_key_refusal(self._host, f"StrictHostKeyChecking is off in its {name}")
        if "ssh_args" in options:
            arguments = self._connection.get_option("ssh_args") or ""
            if not arguments.startswith(SSH_ARGUMENTS):
                given = " ".join(self._connection.get_option(name) or "" for name in SSH_OPTIONS if name in options)
                ours = SSH_ARGUMENTS if ALIVE.search(given) else f"{SSH_ARGUMENTS} {ALIVE_ARGUMENTS}"
                self._connection.set_option("ssh_args", f"{ours} {arguments}".strip())

    def _own(self, names):
        """The host's own values of the roles' variables and of remediator's policy, as plain values.

        They name files and commands of this controller: what a host answered as a fact of its own must not set them.
        """
        wanted = [name for name in (*names, "remediator_policy", "remediator_allow") if name in self._variables]
        facts = self._variables.get("ansible_facts") or {}
        told = sorted(name for name in wanted if name in facts)
        if told:
            raise AnsibleActionFail(
                f"{self._host}: {', '.join(told)} came as a fact of this host, and only the inventory or the play may "
                "set it. Find out what on this host answers so, and take it out of the fact cache."
            )
        return {name: plain(self._value(name)) for name in wanted}

    def _value(self, name):
        return self._templar.template(self._variables.get(name))

    @contextlib.contextmanager
    def _bounded(self):
        soft, hard = resource.getrlimit(resource.RLIMIT_AS)
        if soft == resource.RLIM_INFINITY:
            resource.setrlimit(resource.RLIMIT_AS, (MEMORY, hard))
        try:
            yield
        except BaseException as failure:  # the task's timeout is one
            resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
            end_children()
            if not isinstance(failure, MemoryError):
                raise
            raise AnsibleActionFail(
                f"{self._host}: it sent more than can be taken in. Look at what runs there in place of its Python."
            ) from None
        finally:
            resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def who():
    """The user that runs Ansible, and where."""
    try:
        user = pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        user = f"uid {os.getuid()}"
    return f"{user}@{socket.gethostname()}"


def plain(value):
    """A templated value in Python's own types: Ansible's are lazy and carry tags."""
    if isinstance(value, str):
        return "".join([value])
    if isinstance(value, bool) or value is None:
        return value
    if isinstance(value, (int, float)):
        return float(value) if isinstance(value, float) else int(value)
    if isinstance(value, dict):
        return {plain(name): plain(value[name]) for name in value}
    if isinstance(value, (list, tuple, set)):
        return [plain(item) for item in value]
    return str(value)
