"""The Helm chart: what helm makes of it is what Kubernetes takes, and what the broker takes. Run by tests/packages/chart."""

import json
import os
import pathlib
import re
import subprocess
import tempfile
import unittest

import kubernetes_validate
import yaml

ROOT = pathlib.Path(__file__).parents[2]
CHART = ROOT / "packaging/helm/dunlin"
HELM = ROOT / "target/chart-tools/bin/helm"
DUNLIN = os.environ["DUNLIN"]
VERSIONS = ["1.25", "1.30", "1.37"]

EVERYTHING = """
ports: {mqtt: 1883, mqtts: 8883, ws: 8083}
service: {type: LoadBalancer, annotations: {a: b}}
secrets: {users: dunlin-users, tls: dunlin-tls}
serviceMonitor: {enabled: true, labels: {release: prometheus}}
persistence: {storageClassName: fast}
imagePullSecrets: [{name: pull}]
podAnnotations: {a: b}
podLabels: {c: d}
nodeSelector: {kubernetes.io/arch: amd64}
tolerations: [{key: iot, operator: Exists}]
affinity: {nodeAffinity: {}}
priorityClassName: high
seccompProfile: {type: Unconfined}
"""
MEMORY = "persistence: {enabled: false}\npodDisruptionBudget: {enabled: false}\nserviceAccount: {create: false}\n"


def rendered(values="", release="try"):
    """The objects that helm makes of the chart, and nothing if it refuses."""
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
        file.write(values)
        file.flush()
        command = [HELM, "template", release, CHART, "--namespace", "iot", "--values", file.name]
        text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return [document for document in yaml.safe_load_all(text) if document]


def only(objects, kind, name=None):
    found = [it for it in objects if it["kind"] == kind and (name is None or it["metadata"]["name"] == name)]
    assert len(found) == 1, f"{len(found)} objects are a {kind}"
    return found[0]


class Chart(unittest.TestCase):
    def test_helm_finds_nothing_wrong(self):
        subprocess.run([HELM, "lint", "--strict", CHART], check=True, capture_output=True)

    def test_kubernetes_takes_what_helm_makes(self):
        for values in ["", EVERYTHING, MEMORY]:
            for version in VERSIONS:
                for it in rendered(values):
                    # Not Kubernetes' own: its schema comes with the operator.
                    if it["kind"] != "ServiceMonitor":
                        kubernetes_validate.validate(it, version, strict=True)

    def test_the_values_of_the_document_are_taken(self):
        text = (ROOT / "docs/INSTALL.md").read_text().split("```yaml\n")[1].split("```")[0]
        objects = rendered(text)
        for it in objects:
            if it["kind"] != "ServiceMonitor":
                kubernetes_validate.validate(it, VERSIONS[-1], strict=True)
        ports = only(objects, "Service", "try-dunlin")["spec"]["ports"]
        self.assertEqual([port["port"] for port in ports], [8883])
        mounts = only(objects, "StatefulSet")["spec"]["template"]["spec"]["containers"][0]["volumeMounts"]
        self.assertLessEqual({"/etc/dunlin/users", "/etc/dunlin/tls"}, {mount["mountPath"] for mount in mounts})

    def test_a_schema_refuses_what_is_wrong(self):
        broken = only(rendered(), "StatefulSet")
        broken["spec"]["template"]["spec"]["containers"][0]["livenessProb"] = {}
        with self.assertRaises(kubernetes_validate.ValidationError):
            kubernetes_validate.validate(broken, VERSIONS[-1], strict=True)

    def test_the_version_is_that_of_the_broker(self):
        chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
        version = subprocess.run([DUNLIN, "--version"], check=True, capture_output=True, text=True).stdout.split()[1]
        self.assertEqual(chart["appVersion"], version)
        image = only(rendered(), "StatefulSet")["spec"]["template"]["spec"]["containers"][0]["image"]
        self.assertEqual(image, f"dunlin:{version}")

    def test_the_broker_takes_its_configuration_and_its_environment(self):
        objects = rendered()
        text = only(objects, "ConfigMap")["data"]["dunlin.toml"]
        container = only(objects, "StatefulSet")["spec"]["template"]["spec"]["containers"][0]
        environment = {it["name"]: it.get("value", "dunlin-0") for it in container["env"]}
        with tempfile.TemporaryDirectory() as folder:
            environment["DUNLIN_STORE__DATA_DIR"] = folder
            path = pathlib.Path(folder, "dunlin.toml")
            path.write_text(text)
            told = subprocess.run([DUNLIN, "--config", path, "--test-config"], env=environment, capture_output=True, text=True)
        self.assertEqual(told.returncode, 0, told.stderr)

    def test_what_may_be_kept_in_memory_leaves_room_below_the_limit(self):
        def bytes_of(text):
            number, unit = re.fullmatch(r"(\d+)([KMG]i)B?", text).groups()
            return int(number) << {"Ki": 10, "Mi": 20, "Gi": 30}[unit]

        container = only(rendered(), "StatefulSet")["spec"]["template"]["spec"]["containers"][0]
        environment = {it["name"]: it.get("value") for it in container["env"]}
        names = ["DUNLIN_SESSION__MAX_QUEUED_MEMORY", "DUNLIN_MQTT__RETAINED_MAX_BYTES"]
        kept = sum(bytes_of(environment[name]) for name in names)
        limit = bytes_of(container["resources"]["limits"]["memory"])
        self.assertLess(kept, limit * 6 // 10)
        # They are called so.
        lines = (ROOT / "docs/CONFIGURATION.md").read_text().splitlines()
        settings = {line.split("`")[1]: line for line in lines if line.startswith("- `")}
        self.assertIn(names[0], settings["max_queued_memory"])
        self.assertIn(names[1], settings["retained_max_bytes"])

    def test_people_can_operate_it_without_a_key(self):
        spec = only(rendered(), "StatefulSet")["spec"]["template"]["spec"]
        container = spec["containers"][0]
        environment = {it["name"]: it.get("value") for it in container["env"]}
        path = pathlib.PurePosixPath(environment["DUNLIN_ADMIN__SOCKET"])
        # Where dunlin ctl looks by itself.
        self.assertEqual(path, pathlib.PurePosixPath("/run/dunlin/admin.sock"))
        mounts = {mount["mountPath"]: mount["name"] for mount in container["volumeMounts"]}
        volumes = {volume["name"]: volume for volume in spec["volumes"]}
        self.assertEqual(volumes[mounts[str(path.parent)]]["emptyDir"]["medium"], "Memory")

    def test_notes_say_how_to_operate_it(self):
        # helm template leaves notes out.
        command = [HELM, "install", "try", CHART, "--dry-run=client", "--namespace", "iot"]
        told = subprocess.run(command, capture_output=True, text=True)
        self.assertEqual(told.returncode, 0, told.stderr)
        notes = told.stdout.split("NOTES:")[1]
        for words in ["exec try-dunlin-0 -- /usr/bin/dunlin ctl kick", "ctl password", "http://127.0.0.1:18083/"]:
            self.assertIn(words, notes)

    def test_values_have_a_schema(self):
        schema = json.loads((CHART / "values.schema.json").read_text())
        values = yaml.safe_load((CHART / "values.yaml").read_text())
        # A chart that has this one below it gives it `global`.
        self.assertEqual(set(schema["properties"]), set(values) | {"global"})
        for wrong in ["ports: {mqtt: many}", "imgae: {tag: x}", "service: {type: Public}", "image: {tags: x}", "replicas: 2"]:
            with self.assertRaises(subprocess.CalledProcessError, msg=wrong):
                rendered(wrong)

    def test_the_pod_is_confined_and_asked_how_it_is(self):
        pod = only(rendered(), "StatefulSet")["spec"]["template"]["spec"]
        container = pod["containers"][0]
        self.assertIs(pod["securityContext"]["runAsNonRoot"], True)
        self.assertIs(pod["automountServiceAccountToken"], False)
        self.assertEqual(pod["securityContext"]["seccompProfile"], {"type": "Localhost", "localhostProfile": "dunlin.json"})
        self.assertEqual(container["securityContext"]["capabilities"], {"drop": ["ALL"]})
        self.assertIs(container["securityContext"]["readOnlyRootFilesystem"], True)
        self.assertEqual(container["livenessProbe"]["httpGet"], {"path": "/healthz", "port": "admin"})
        for probe in ["readinessProbe", "startupProbe"]:
            self.assertEqual(container[probe]["httpGet"], {"path": "/readyz", "port": "admin"})

    def test_services_lead_to_ports_of_the_pod(self):
        objects = rendered(EVERYTHING)
        pod = only(objects, "StatefulSet")["spec"]["template"]
        ports = {port["name"]: port["containerPort"] for port in pod["spec"]["containers"][0]["ports"]}
        self.assertEqual(ports, {"mqtt": 1883, "mqtts": 8883, "ws": 8083, "admin": 18083})
        for service in [it for it in objects if it["kind"] == "Service"]:
            self.assertLessEqual(service["spec"]["selector"].items(), pod["metadata"]["labels"].items())
            for port in service["spec"]["ports"]:
                self.assertEqual(ports[port["targetPort"]], port["port"])
        public = only(objects, "Service", "try-dunlin")
        self.assertNotIn("admin", [port["name"] for port in public["spec"]["ports"]])
        self.assertEqual(public["spec"]["externalTrafficPolicy"], "Local")

    def test_prometheus_finds_the_admin_service_alone(self):
        objects = rendered(EVERYTHING)
        monitor = only(objects, "ServiceMonitor")
        wanted = monitor["spec"]["selector"]["matchLabels"].items()
        found = [it for it in objects if it["kind"] == "Service" and wanted <= it["metadata"]["labels"].items()]
        self.assertEqual([it["metadata"]["name"] for it in found], ["try-dunlin-headless"])
        endpoint = monitor["spec"]["endpoints"][0]
        self.assertIn(endpoint["port"], [port["name"] for port in found[0]["spec"]["ports"]])
        self.assertEqual(endpoint["path"], "/metrics")

    def test_state_is_on_a_volume_or_goes_with_the_pod(self):
        kept = only(rendered(), "StatefulSet")["spec"]
        self.assertEqual(kept["volumeClaimTemplates"][0]["spec"]["resources"]["requests"]["storage"], "8Gi")
        gone = only(rendered(MEMORY), "StatefulSet")["spec"]
        self.assertNotIn("volumeClaimTemplates", gone)
        self.assertIn({"name": "state", "emptyDir": {}}, gone["template"]["spec"]["volumes"])

    def test_a_release_that_is_called_dunlin_is_not_called_so_twice(self):
        self.assertEqual(only(rendered(release="dunlin"), "StatefulSet")["metadata"]["name"], "dunlin")

    def test_another_configuration_is_another_pod(self):
        def annotations(values):
            return only(rendered(values), "StatefulSet")["spec"]["template"]["metadata"]["annotations"]

        self.assertNotEqual(annotations(""), annotations("config: |\n  [listener]\n  port = 1884\n"))


if __name__ == "__main__":
    unittest.main()
