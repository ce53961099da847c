# stoker-worker-onnx as a process: the contract suite on a small model, and real inference.
if(TARGET stoker-worker-onnx)
  add_executable(onnx_worker_test onnx_worker_test.cpp worker_process.cpp)
  target_link_libraries(onnx_worker_test PRIVATE stoker_base stoker_net simdjson::simdjson GTest::gtest_main)
  target_compile_definitions(onnx_worker_test PRIVATE
    STOKER_TEST_ONNX_WORKER="$<TARGET_FILE:stoker-worker-onnx>"
    STOKER_TEST_DATA="${CMAKE_SOURCE_DIR}/tests/data"
    STOKER_TEST_VAD_MODEL="${STOKER_ONNX_TEST_MODEL}")
  add_dependencies(onnx_worker_test stoker-worker-onnx)
  add_test(NAME contract.onnx COMMAND onnx_worker_test)
  set_tests_properties(contract.onnx PROPERTIES LABELS quick TIMEOUT ${short_timeout})

  add_test(NAME contract.worker_onnx COMMAND worker_contract_test --gtest_filter=Kinds/*/onnx)
  set_tests_properties(contract.worker_onnx PROPERTIES LABELS quick TIMEOUT ${short_timeout})
  set_property(TEST contract.worker_onnx PROPERTY ENVIRONMENT
    "STOKER_TEST_ONNX_MODEL=${CMAKE_SOURCE_DIR}/tests/data/loop.onnx"
    "STOKER_TEST_ONNX_REQUEST={\"inputs\":[{\"name\":\"rounds\",\"shape\":[],\"datatype\":\"INT64\",\"data\":[3]},{\"name\":\"x\",\"shape\":[1],\"datatype\":\"FP32\",\"data\":[2]}]}")
endif()
