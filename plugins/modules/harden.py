# Copyright (c) the remediator authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
---
module: harden
short_description: Preview and apply the hardening of a Docker or Kubernetes host
version_added: "0.1.0"
author:
  - The remediator authors (@remediator)
description:
  - Observes the host in one round trip, decides every selected control on the controller, and, outside check mode,
    makes the permitted changes as transactions that are validated, activated, probed, and put back where they fail.
  - One task takes all selected roles at once, so that changes to one file, or that need one restart, join.
  - Only changes of fix class C(safe) are made unless the variable C(remediator_allow) names a role, a control, or
    C(guarded). The variable C(remediator_policy) may hold C(waivers) (control id to reason), C(roots) (further
    directories below which files may be changed), C(restarts) (V(ask), V(never), V(window) or V(always)), C(window)
    (times in UTC such as V(Sun 02:00-04:00)), C(before_restart) and C(after_restart) (commands of the controller, each
    a list of words, with a deadline of C(hook_seconds)), C(healthy_seconds) (how long a restarted service must stay
    well), and C(keep) and C(keep_days) (how many ended transactions the host keeps for an undo, and how long).
  - A change that needs a restart which must not be made now is held back whole. A playbook has nobody to ask, so
    V(ask), the default, holds it; set C(restarts) to V(always), or to V(window), to have it made.
  - Nothing is installed or left on the host for a preview; it needs Python 3.6 or newer there.
options:
  roles:
    description:
      - The roles whose controls are meant, such as V(docker_audit).
      - Without O(roles) and O(controls) it is every control that there is.
    type: list
    elements: str
    default: []
  controls:
    description:
      - Further controls, by id or by the id that an official benchmark gives them.
    type: list
    elements: str
    default: []
  skip_controls:
    description:
      - Controls to leave out, by id or official id.
    type: list
    elements: str
    default: []
  rollback:
    description:
      - Take this run back instead of hardening, by its whole id as C(remediate transactions) lists it.
      - What a later run or somebody else changed since is refused, by name. O(controls) then limits it to the paths
        that these controls asked for.
    type: str
  force:
    description:
      - With O(rollback), take back what was changed since, too.
    type: bool
    default: false
requirements:
  - the Python package C(remediator) on the controller
attributes:
  check_mode:
    description: Can run in check mode and report what would change.
    support: full
  diff_mode:
    description: Reports the exact lines, modes, owners and audit rules that change.
    support: full
  platform:
    description: The hosts that can be changed.
    platforms: posix
    support: full
  action:
    description: Runs as an action on the controller.
    support: full
  async:
    description: Supports being run with the C(async) keyword.
    support: none
notes:
  - Changing a host needs root, so a become method unless the connection is root's. A preview works without, and says
    which verdicts stay unknown.
  - Host keys are checked, whatever the configuration says, and the agent is not forwarded.
"""

EXAMPLES = r"""
- name: Audit watches and file access in one go
  remediator.hardening.harden:
    roles: [docker_audit, docker_files]

- name: One control, by its id in CIS Docker 1.6
  remediator.hardening.harden:
    controls: ["1.1.3"]

- name: Everything but one control, with consent to what is guarded in one role
  remediator.hardening.harden:
    skip_controls: [docker.audit.data-root]
  vars:
    remediator_allow: [docker_audit]

- name: Take one run back
  remediator.hardening.harden:
    rollback: 01JDQ3V8N6T0M5S2R4W9XK7YZB
"""

RETURN = r"""
verdicts:
  description: One entry for each selected control, as observed last.
  returned: success
  type: list
  elements: dict
  contains:
    control:
      description: The control's id.
      type: str
      sample: docker.audit.daemon-binary
    verdict:
      description: >-
        One of V(compliant), V(drifted), V(pending), V(not_applicable), V(waived), V(manual) and V(unknown).
      type: str
      sample: compliant
    reason:
      description: Why, in one sentence.
      type: str
outcomes:
  description: What became of each transaction; empty in check mode.
  returned: success
  type: list
  elements: dict
  contains:
    group:
      description: What the transaction is about, such as V(audit) or V(files).
      type: str
    outcome:
      description: >-
        One of V(applied), V(rolled_back), V(stale), V(held), V(refused), V(unreported) and V(broken). The task fails
        for V(rolled_back), V(broken) and V(unreported), and outside of check mode on a host that is broken or still
        interrupted from before, of which check mode warns.
      type: str
    reason:
      description: Why, in one sentence.
      type: str
diff:
  description: The changes, or in check mode what would change, as C(--diff) prints it.
  returned: success
  type: list
  elements: dict
"""
