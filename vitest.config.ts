import {
  defineConfig,
  type TestProjectInlineConfiguration,
  type ViteUserConfig,
} from "vitest/config";

/**
 * Makes `import "dure"` load the sources, in Vite's own resolution and in Node's. Vitest hands the
 * list on to Node's `require` too, so "import" here would give CommonJS packages ES modules.
 */
const conditions = ["dure-source", "node"];
const shopUnit = ["apps/shop/**/domain*.test.ts", "apps/shop/chassis/**/*.test.ts"];
const shopCrash = ["apps/shop/**/crash/*.test.ts"];
const chaos = "tools/chaos/crash/*.test.ts";
const withServer = "packages/dure/test/support/global-setup.ts";

/** One project per tier; tools/test.ts runs them in this order. */
const projects: TestProjectInlineConfiguration[] = [
  project("unit", {
    include: ["packages/*/src/**/*.test.ts", ...shopUnit],
    pool: "threads",
    isolate: false, // unit tests share no state, and fresh workers would be most of their time
  }),
  project("types", {
    include: [],
    typecheck: { enabled: true, only: true, include: ["{packages,apps}/**/*.test-d.ts"] },
  }),
  project("integration", {
    include: ["packages/dure/test/{integration,contract}/**/*.test.ts", "apps/shop/**/*.test.ts"],
    exclude: ["**/node_modules/**", ...shopUnit, ...shopCrash],
    globalSetup: [withServer],
    pool: "forks",
  }),
  project("crash", {
    include: ["packages/dure/test/crash/**/*.test.ts", ...shopCrash, chaos],
    globalSetup: [withServer],
    pool: "forks",
    fileParallelism: false, // each file runs several processes of its own on what may be two cores
  }),
  project("house", {
    include: ["packages/dure/test/*.test.ts", "{tools,docs,examples}/**/*.test.ts"],
    exclude: ["**/node_modules/**", chaos],
    pool: "threads",
    testTimeout: 180_000, // packing, installing and compiling the tarball
  }),
];

const config: ViteUserConfig = defineConfig({ test: { projects, teardownTimeout: 30_000 } });
export default config;

function project(
  name: string,
  test: NonNullable<TestProjectInlineConfiguration["test"]>,
): TestProjectInlineConfiguration {
  return {
    resolve: { conditions },
    ssr: { resolve: { conditions } },
    test: {
      name,
      environment: "node",
      execArgv: ["--conditions=dure-source"],
      maxWorkers: 2,
      testTimeout: 30_000,
      hookTimeout: 60_000,
      restoreMocks: true,
      ...test,
    },
  };
}
