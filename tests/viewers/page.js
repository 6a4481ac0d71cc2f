// Loads /head.glb with three.js, moves keys, switches material variants, and posts what it saw to
// /report: names, how far vertices move (mm), PNGs of the canvas.
import * as THREE from "three";
import { GLTFLoader } from "three/addons/loaders/GLTFLoader.js";

const SIDE = 512;
const VARIANTS = "KHR_materials_variants";

const renderer = new THREE.WebGLRenderer({ antialias: true });
renderer.setSize(SIDE, SIDE, false);
const scene = new THREE.Scene();
scene.background = new THREE.Color(0x808080);
scene.add(new THREE.HemisphereLight(0xffffff, 0x606060, 2));
const sun = new THREE.DirectionalLight(0xffffff, 2);
sun.position.set(-1, 1, 2);
scene.add(sun);
const camera = new THREE.PerspectiveCamera(20, 1, 0.1, 10);
camera.position.set(0, 0, 1.2);

function picture() {
  renderer.render(scene, camera);
  return renderer.domElement.toDataURL("image/png");
}

/** Set keys by name on all meshes, all others to 0. */
function pose(meshes, keys) {
  for (const mesh of meshes) {
    for (const [name, index] of Object.entries(mesh.morphTargetDictionary ?? {})) {
      mesh.morphTargetInfluences[index] = keys[name] ?? 0;
    }
  }
}

/** Places of a mesh's vertices under its keys and bones. */
function places(mesh) {
  const count = mesh.geometry.attributes.position.count;
  return Array.from({ length: count }, (_, i) => mesh.getVertexPosition(i, new THREE.Vector3()));
}

/** By mesh, the longest move of a vertex from the neutral head under a key, mm. */
function moves(meshes, key) {
  pose(meshes, {});
  const before = meshes.map(places);
  pose(meshes, { [key]: 1 });
  return Object.fromEntries(
    meshes.map((mesh, k) => {
      const lengths = places(mesh).map((place, i) => place.distanceTo(before[k][i]));
      return [mesh.name, 1000 * lengths.reduce((a, b) => Math.max(a, b), 0)];
    }),
  );
}

/** The move of a corner of the skin's box when the bone of the jaw turns by 0.3 rad, mm. */
function turn(meshes, bone) {
  const skin = meshes.find((mesh) => mesh.name === "skin");
  pose(meshes, {});
  const before = places(skin);
  bone.rotateX(0.3);
  scene.updateMatrixWorld(true);
  const lengths = places(skin).map((place, i) => place.distanceTo(before[i]));
  bone.rotateX(-0.3);
  scene.updateMatrixWorld(true);
  return 1000 * lengths.reduce((a, b) => Math.max(a, b), 0);
}

async function choose(gltf, meshes, variant) {
  const names = {};
  for (const mesh of meshes) {
    const mappings = mesh.userData.gltfExtensions[VARIANTS].mappings;
    const mapping = mappings.find((m) => m.variants.includes(variant));
    mesh.material = await gltf.parser.getDependency("material", mapping.material);
    gltf.parser.assignFinalMaterial(mesh);
    names[mesh.name] = [mesh.material.name, mesh.material.type];
  }
  return names;
}

async function look() {
  const gltf = await new GLTFLoader().loadAsync("/head.glb");
  scene.add(gltf.scene);
  scene.updateMatrixWorld(true);
  const meshes = [];
  const bones = {};
  gltf.scene.traverse((thing) => {
    if (thing.isMesh) meshes.push(thing);
    if (thing.isBone) bones[thing.userData.name ?? thing.name] = thing;
  });
  const report = { three: THREE.REVISION, bones: Object.keys(bones), meshes: {}, pictures: {} };
  for (const mesh of meshes) {
    const { map, normalMap } = mesh.material;
    report.meshes[mesh.name] = {
      skinned: Boolean(mesh.isSkinnedMesh),
      keys: Object.keys(mesh.morphTargetDictionary ?? {}),
      on: Object.entries(mesh.morphTargetDictionary ?? {})
        .filter(([, index]) => mesh.morphTargetInfluences[index] > 0)
        .map(([name]) => name),
      texture: map ? map.image.width : 0,
      relief: normalMap ? normalMap.image.width : 0,
    };
  }
  report.pictures.opened = picture();
  report.moves = Object.fromEntries(
    ["eyeBlinkLeft", "jawOpen", "photoExpression"].map((key) => [key, moves(meshes, key)]),
  );
  report.jaw = turn(meshes, bones.jaw);
  for (const [name, keys] of [
    ["neutral", {}],
    ["blink", { eyeBlinkLeft: 1 }],
    ["jaw", { jawOpen: 1 }],
  ]) {
    pose(meshes, keys);
    report.pictures[name] = picture();
  }
  pose(meshes, {});
  report.looks = {};
  const { variants } = gltf.userData.gltfExtensions[VARIANTS];
  for (const [index, { name }] of variants.entries()) {
    report.looks[name] = await choose(gltf, meshes, index);
    report.pictures[name] = picture();
  }
  return report;
}

look()
  .catch((error) => ({ error: String(error.stack ?? error) }))
  .then((report) => fetch("/report", { method: "POST", body: JSON.stringify(report) }));
