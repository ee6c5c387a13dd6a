"""Inventory of the instances of a Lambda Cloud account (GET /api/v1/instances of docs.lambda.ai/public-cloud/cloud-api)."""

from __future__ import annotations

import json
import re
from urllib.error import HTTPError, URLError

from ansible.errors import AnsibleParserError
from ansible.module_utils.urls import open_url
from ansible.plugins.inventory import BaseInventoryPlugin, Constructable
from ansible.utils.unsafe_proxy import wrap_var

DOCUMENTATION = r"""
name: lambda_cloud
short_description: Instances of a Lambda Cloud account
version_added: 0.1.0
author:
  - SOPHIA Fleet authors
description:
  - Lists the instances of the account, each with its address, region and instance type as variables that begin with
    C(lambda_), in groups by region and by instance type, and in the groups that O(keyed_groups) and O(groups) make.
  - A host is called by the name of its instance, or by its id where the name cannot be a node name.
  - Tokens that the API returns beside an instance never become variables.
extends_documentation_fragment:
  - constructed
options:
  plugin:
    description: Says that this file is for this plugin.
    required: true
    choices: [sophia.fleet.lambda_cloud, lambda_cloud]
  api_key:
    description: An API key of the account; vault it, or take it from the environment.
    required: true
    type: str
    env:
      - name: LAMBDA_API_KEY
  url:
    description: Where the API is.
    type: str
    default: https://cloud.lambda.ai/api/v1
  timeout:
    description: Seconds for the answer.
    type: int
    default: 30
  group:
    description: Group of all instances that are listed.
    type: str
    default: sophia_agents
  statuses:
    description: Only instances in one of these states are listed.
    type: list
    elements: str
    default: [active]
  regions:
    description: Only instances of these regions are listed; empty means all.
    type: list
    elements: str
    default: []
  name_pattern:
    description: Only instances whose name matches this regular expression are listed.
    type: str
    default: .*
"""

EXAMPLES = r"""
# fleet.lambda_cloud.yml
plugin: sophia.fleet.lambda_cloud
regions: [us-east-3]
name_pattern: ^gpu-
compose:
  ansible_user: "'ubuntu'"
"""

# The answer of the largest account is far smaller; more than this is not an answer of this API.
MAX_ANSWER_BYTES = 16 * 1024 * 1024


# What the fleet takes as the name of a node.
NODE_NAME = re.compile(r"^[A-Za-z0-9]([A-Za-z0-9.-]{0,61}[A-Za-z0-9])?$")


def safe(name: str) -> str:
    """A name as Ansible takes it for a group."""
    return re.sub(r"[^A-Za-z0-9_]", "_", name)


class InventoryModule(BaseInventoryPlugin, Constructable):
    """Asks once for each run; an account that cannot be asked is an error, never an empty inventory."""

    NAME = "sophia.fleet.lambda_cloud"

    def verify_file(self, path):
        """Whether a file is meant for this plugin, by its name."""
        return super().verify_file(path) and path.endswith(("lambda_cloud.yml", "lambda_cloud.yaml"))

    def parse(self, inventory, loader, path, cache=True):
        """Fills the inventory from the account."""
        super().parse(inventory, loader, path, cache)
        self._read_config_data(path)
        pattern = self._pattern()
        statuses, regions = self.get_option("statuses"), self.get_option("regions")
        group = self.inventory.add_group(self.get_option("group"))
        for instance in self._instances():
            name = instance.get("name") or instance["id"]
            region = (instance.get("region") or {}).get("name", "")
            if instance.get("status") not in statuses or not pattern.search(name):
                continue
            if regions and region not in regions:
                continue
            self._add(group, name if NODE_NAME.match(name) else instance["id"], region, instance)

    def _pattern(self):
        try:
            return re.compile(self.get_option("name_pattern"))
        except re.error as error:
            raise AnsibleParserError(f"name_pattern is no regular expression: {error}") from error

    def _instances(self):
        url = f"{self.get_option('url').rstrip('/')}/instances"
        headers = {"Authorization": f"Bearer {self.get_option('api_key')}", "Accept": "application/json"}
        try:
            answer = open_url(url, headers=headers, timeout=self.get_option("timeout"), follow_redirects="none")
            text = answer.read(MAX_ANSWER_BYTES + 1)
        except HTTPError as error:
            hint = " (is the API key valid?)" if error.code in (401, 403) else ""
            raise AnsibleParserError(f"Lambda Cloud answered {error.code} to {url}{hint}") from error
        except (URLError, OSError) as error:
            raise AnsibleParserError(f"Lambda Cloud cannot be reached at {url}: {error}") from error
        try:
            instances = json.loads(text)["data"]
            if len(text) <= MAX_ANSWER_BYTES and all(isinstance(entry["id"], str) for entry in instances):
                return instances
        except (ValueError, KeyError, TypeError) as error:
            raise AnsibleParserError(f"The answer of {url} is not a list of instances") from error
        raise AnsibleParserError(f"The answer of {url} is not a list of instances")

    def _add(self, group, name, region, instance):
        if name in self.inventory.hosts:
            # Names need not be unique in an account, and a node name must be.
            name = f"{name}-{instance['id'][:8]}"
        host = self.inventory.add_host(name, group=group)
        kind = instance.get("instance_type") or {}
        variables = {
            "ansible_host": instance.get("ip"),
            "lambda_id": instance["id"],
            "lambda_name": instance.get("name"),
            "lambda_hostname": instance.get("hostname"),
            "lambda_private_ip": instance.get("private_ip"),
            "lambda_region": region,
            "lambda_status": instance.get("status"),
            "lambda_instance_type": kind.get("name"),
            "lambda_gpus": (kind.get("specs") or {}).get("gpus"),
            "lambda_file_systems": instance.get("file_system_names") or [],
        }
        for key, value in variables.items():
            if value is not None:
                # Whoever may name an instance must not thereby write templates.
                self.inventory.set_variable(host, key, wrap_var(value))
        for prefix, value in (("region", region), ("type", kind.get("name"))):
            if value:
                self.inventory.add_child(self.inventory.add_group(f"lambda_{prefix}_{safe(value)}"), host)
        strict = self.get_option("strict")
        known = self.inventory.get_host(host).get_vars()
        self._set_composite_vars(self.get_option("compose"), known, host, strict=strict)
        self._add_host_to_composed_groups(self.get_option("groups"), known, host, strict=strict)
        self._add_host_to_keyed_groups(self.get_option("keyed_groups"), known, host, strict=strict)
